"""Pictures, label maps and video, for packages that may not import each other."""
