"""Live mode: the newest frame of each stream, states, deadlines, the live page."""
