"""Serving: a simulator of language-model engines and applications, and the problems on top of it."""
