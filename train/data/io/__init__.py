"""Reads masks, archives and videos."""
