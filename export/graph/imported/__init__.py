"""Models of other origin: their files, their outputs, and what their outputs mean."""
