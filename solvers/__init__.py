"""Solvers: ask/tell or one-shot, all scored by the same referee."""
