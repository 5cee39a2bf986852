"""Checking, converting and extracting frames of data sets."""
