"""What needs more than one frame: tracking, mask smoothing, presence."""
