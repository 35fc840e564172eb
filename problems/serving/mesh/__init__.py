"""LLM-Mesh: which model shares which node, token by token, on CPUs and GPUs (after arXiv 2507.00507)."""
