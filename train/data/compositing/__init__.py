"""Clones instruments into other frames: foregrounds, matting, Poisson image editing."""
