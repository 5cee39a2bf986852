"""Opens whatever a place names: a video, a folder, a camera, a stream.

open_source("video.mp4")
"""

from __future__ import annotations

from pathlib import Path

from trocar.contract.errors import SourceError
from trocar.runtime.sources.base import DEFAULTS, IMAGE_SUFFIXES, Source, SourceOptions, is_stream
from trocar.runtime.sources.images import ImageFolder


def open_source(place: str | Path, options: SourceOptions = DEFAULTS) -> Source:
    """Opens a video file, a folder of images, a camera (``/dev/video0``) or a stream's address.

    Raises:
        SourceError: There is nothing, or nothing that can be decoded.
    """
    text = str(place)
    path = Path(text)
    if not is_stream(text):
        if path.is_dir():
            return ImageFolder(path, fps=options.fps)
        if not path.exists():
            raise SourceError(f"there is no {path}", remedy="check the path")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)", remedy="copy the video again")
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageFolder(path, fps=options.fps)
    from trocar.runtime.sources.video import VideoSource

    return VideoSource(text, options)
