"""Solvers and recorded runs side by side: quality over time, ranks, curves."""
