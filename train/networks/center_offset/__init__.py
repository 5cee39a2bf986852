"""Panoptic-DeepLab on any segmentation architecture: network, targets, grouping."""
