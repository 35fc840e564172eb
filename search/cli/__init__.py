"""The `optimize` command: everything that prints stands in this folder."""

from .app import main

__all__ = ["main"]
