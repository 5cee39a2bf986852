"""Latency histograms, traces and Prometheus metrics."""
