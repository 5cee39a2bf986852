"""Opens the source that an address names: a video, a folder, a camera or a stream.

open_source("video.mp4")
"""

from __future__ import annotations

from pathlib import Path

from trocar.contract.errors import SourceError
from trocar.contract.media.pictures import IMAGE_SUFFIXES
from trocar.runtime.sources.addresses import is_stream
from trocar.runtime.sources.base import DEFAULTS, Source, SourceOptions
from trocar.runtime.sources.images import ImageFolder


def open_source(address: str | Path, options: SourceOptions = DEFAULTS) -> Source:
    """Opens a video file, a folder of images, a camera (``/dev/video0``) or a stream.

    Args:
        address: A path or an address such as ``rtsp://…``.
        options: How it is opened.

    Raises:
        SourceError: It does not exist, or cannot be decoded.
    """
    text = str(address)
    path = Path(text)
    if not is_stream(text):
        if path.is_dir():
            return ImageFolder(path, fps=options.fps)
        if not path.exists():
            raise SourceError(f"{path} does not exist", remedy="check the path")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)", remedy="copy the video again")
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageFolder(path, fps=options.fps)
    from trocar.runtime.sources.video import VideoSource

    return VideoSource(text, options)
