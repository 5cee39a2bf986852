"""Opens the source that an address names: a video, a folder, a camera or a stream.

open_source("video.mp4")
"""

from __future__ import annotations

from pathlib import Path

from trocar.contract.errors import SourceError
from trocar.contract.media.pictures import IMAGE_SUFFIXES
from trocar.contract.plug_ins import (
    PlugIn,
    blamed,
    check_object,
    guard_methods,
    load,
    plug_ins,
)
from trocar.runtime.sources.addresses import is_stream
from trocar.runtime.sources.base import DEFAULTS, Source, SourceOptions
from trocar.runtime.sources.images import ImageFolder

OWN_SCHEMES = (
    *("file", "ftp", "hls", "http", "https", "mmsh", "mmst", "rist", "rtmp", "rtmpe", "rtmps"),
    *("rtp", "rtsp", "rtsps", "sftp", "srt", "srtp", "tcp", "tls", "udp", "unix"),
)
"""Schemes of addresses that FFmpeg opens."""


def open_source(address: str | Path, options: SourceOptions = DEFAULTS) -> Source:
    """Opens a video file, a folder of images, a camera (``/dev/video0``) or a stream.

    The scheme of an address (``NAME://``) may be the name of a plug-in's source; the schemes of
    `OWN_SCHEMES` never are.

    Args:
        address: A path or an address such as ``rtsp://…``.
        options: How it is opened.

    Raises:
        SourceError: It does not exist, or cannot be decoded.
        ConfigError: The plug-in of its scheme does not work.
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
    scheme, separator, _ = text.partition("://")
    plug_in = plug_ins("sources", own=OWN_SCHEMES).get(scheme) if separator else None
    if plug_in is not None:
        return _open_added(plug_in, text, options)
    from trocar.runtime.sources.video import VideoSource

    return VideoSource(text, options)


def _open_added(plug_in: PlugIn, address: str, options: SourceOptions) -> Source:
    make = load(plug_in)
    with blamed(plug_in):
        source: Source = make(address, options)
        check_object(plug_in, source, ("name", "fps", "total", "live", "frames", "close"))
    guard_methods(plug_in, source, ("frames",))
    return source
