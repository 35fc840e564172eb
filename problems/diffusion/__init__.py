"""Problems of diffusion models: token budgets for video diffusion transformers."""
