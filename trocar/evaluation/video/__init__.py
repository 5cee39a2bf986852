"""Scores of tracked instruments over videos, and the videos that they are scored on."""
