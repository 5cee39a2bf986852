"""The implementations of the counts: NumPy reference, PyTorch, CUDA, emulation."""
