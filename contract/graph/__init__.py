"""What several packages read in an ONNX graph."""
