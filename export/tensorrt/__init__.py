"""TensorRT engines: building, inspecting, storing in a bundle."""
