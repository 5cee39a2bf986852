"""NVIDIA Triton model repositories."""
