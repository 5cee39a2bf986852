"""The parity check of instance models."""
