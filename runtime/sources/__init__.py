"""Where frames come from: files, streams, cameras, image folders, Python iterators.

for frame in open_source("video.mp4").frames(): ...
"""

from trocar.runtime.sources.addresses import is_stream, redacted
from trocar.runtime.sources.base import Frame, Source, SourceOptions
from trocar.runtime.sources.iterator import IteratorSource
from trocar.runtime.sources.open import open_source

__all__ = [
    "Frame",
    "IteratorSource",
    "Source",
    "SourceOptions",
    "is_stream",
    "open_source",
    "redacted",
]
