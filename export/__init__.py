"""From a checkpoint to a bundle whose parity with PyTorch was verified."""
