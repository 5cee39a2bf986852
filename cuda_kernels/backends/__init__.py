"""The backends: NumPy reference, PyTorch, CUDA kernels, and the emulation of these on a CPU."""
