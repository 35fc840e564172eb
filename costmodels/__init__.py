"""Operator cost models: shapes and a device in, a `Cost` out."""
