"""The parity gate: candidate against reference on real frames."""
