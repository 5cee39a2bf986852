"""Instance models: their outputs, recognised and assembled inside the frame-in graph."""
