"""Kernels that locate instruments: components of a label map and what is measured on them."""
