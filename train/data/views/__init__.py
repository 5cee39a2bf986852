"""Views of frames without labels: what a student sees of them, and which of their pixels count."""
