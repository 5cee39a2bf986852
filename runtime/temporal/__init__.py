"""Processing over several frames: tracking, mask smoothing, presence."""
