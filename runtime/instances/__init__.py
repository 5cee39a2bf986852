"""Outputs of instance models: their shapes, and their golden frame."""
