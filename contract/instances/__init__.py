"""Instances of a frame: their pairs with others, their masks as run lengths and polygons."""
