"""The parity check: an exported model against its reference, on real frames."""
