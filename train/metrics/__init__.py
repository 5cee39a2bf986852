"""Scores of segmentation and classification on labelled frames."""
