"""Frames and masks: readers, checks, augmentation, streams, compositing and style transfer."""
