"""What a training run writes for people: progress and figures."""
