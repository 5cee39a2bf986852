"""The few-shot network, its baselines and the local comparison."""
