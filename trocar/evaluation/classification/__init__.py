"""Scores of classifiers on labelled photographs."""
