"""The backends: NumPy reference, PyTorch, CUDA kernels, and the emulation of these on a CPU.

select.select_backend("torch", labels.device).hard_counts(labels, plan)
"""
