"""Metrics from arrays: shapes, presence, bootstrap intervals; and the negative control."""
