"""The real PyTorch kernels that the cost models are checked against. Only this folder imports torch."""
