"""The real PyTorch kernels that each cost model is checked against."""
