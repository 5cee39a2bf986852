"""Frame-in graphs: from PyTorch networks and from ONNX files made elsewhere."""
