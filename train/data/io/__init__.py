"""Reading and writing pictures, masks and video."""
