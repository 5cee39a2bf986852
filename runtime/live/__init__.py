"""Live runs: the newest frame, deadlines, health, the live page."""
