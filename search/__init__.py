"""The driver: runs, recording, resuming, showing."""
