"""Engines in a bundle, and the GPUs that they fit; no TensorRT and no CUDA package is needed."""
