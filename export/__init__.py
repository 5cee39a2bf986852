"""Checkpoint to a proven bundle."""
