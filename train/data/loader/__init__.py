"""Batches for training: streams, workers, caches."""
