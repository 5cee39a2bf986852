"""Compilation of the kernels for GPUs: sources, compilers, cached binaries, resource usage."""
