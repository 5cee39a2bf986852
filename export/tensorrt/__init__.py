"""TensorRT engines: building, inspecting, keeping them in a bundle."""
