"""Where frames come from: files, streams, cameras, image folders, Python iterators."""
