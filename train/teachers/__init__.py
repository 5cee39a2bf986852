"""Trained models that another network learns from."""
