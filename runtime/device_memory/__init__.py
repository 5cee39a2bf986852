"""Frames in the memory of a device, and location there: only tables come back."""
