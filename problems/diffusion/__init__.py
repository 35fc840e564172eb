"""Problems of diffusion models."""
