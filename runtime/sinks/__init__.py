"""Where results go: JSON lines, CSV, PNG folders, video, a Python function."""
