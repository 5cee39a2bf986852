"""Instruments pasted into tissue: foregrounds, matting, Poisson editing."""
