"""Frames and masks to a checkpoint."""
