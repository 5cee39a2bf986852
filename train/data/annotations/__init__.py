"""Masks out to annotation tools and corrections back: COCO, LabelMe, CVAT for images."""
