"""Training: frames and masks in, checkpoints out."""
