"""A renderer of 3D Gaussian scenes that counts its work, and what is designed upon those counts."""
