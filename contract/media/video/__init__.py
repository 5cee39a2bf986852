"""Video: decoding, conversion to RGB, and what a file tells of damage."""
