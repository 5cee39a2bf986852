"""Photographs of one object each: readers, statistics, samplers, streams."""
