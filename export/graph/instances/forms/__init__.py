"""Forms of instance models: one module each, found by its name."""
