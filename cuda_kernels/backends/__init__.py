"""The backends: NumPy reference, PyTorch, CUDA kernels, and the emulation of these on a CPU.

from trocar.cuda_kernels.backends.select import select_backend
"""
