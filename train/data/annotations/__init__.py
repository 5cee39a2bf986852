"""Exchanges labels with annotation tools: COCO, LabelMe, CVAT for images."""
