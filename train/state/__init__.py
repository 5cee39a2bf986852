"""What a run is and keeps: job, settings, checkpoints, folder, resume."""
