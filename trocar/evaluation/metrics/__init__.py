"""Metrics that need nothing but arrays: shapes, presence, bootstrap intervals."""
