"""Where results go: JSON lines, CSV, pictures, video."""
