"""Plans on real PyTorch modules: recording, codecs, the executor, evolution. Only this package imports
torch."""
