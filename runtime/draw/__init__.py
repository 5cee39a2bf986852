"""Overlays: masks, outlines, tags and text drawn into frames."""
