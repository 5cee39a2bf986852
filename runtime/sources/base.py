"""Where frames come from: video files, streams, cameras, image folders, iterators, your own.

    for frame in open_source("video.mp4").frames():
        frame.image, frame.time

A capture card needs a class with the attributes and methods of `Source`, nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FILE_URLS = ("file://",)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded frame.

    Attributes:
        image: ``[H, W, 3]`` uint8 RGB.
        index: Counts decoded frames from 0.
        time: Presentation time in seconds, from the stream where it has one.
        captured_ns: `time.monotonic_ns` when its data reached this process.
        decode_ms: What decoding and colour conversion took.
    """

    image: NDArray[np.uint8]
    index: int
    time: float
    captured_ns: int
    decode_ms: float = 0.0


class Source(Protocol):
    """What a pipeline needs of a source.

    Attributes:
        name: For people; holds no password.
        fps: Nominal frames per second, ``None`` when unknown.
        total: Number of frames, ``None`` when unknown or endless.
        live: Whether frames come at their own pace and are lost when nobody takes them.
    """

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    @property
    def fps(self) -> float | None:
        """Nominal frames per second."""
        ...

    @property
    def total(self) -> int | None:
        """Number of frames."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Gives frames in order until the end."""
        ...

    def close(self) -> None:
        """Stops; a thread that waits in `frames` comes back. May be called twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How sources are opened.

    Attributes:
        hwaccel: Decode on this kind of hardware: ``cuda``, ``vaapi``, ``qsv`` …; never assumed.
        format: Name of the FFmpeg input format, where it cannot be guessed (``v4l2``).
        timeout_s: How long a stream may be silent.
        low_latency: Decode for latency rather than throughput.
        allow_truncated: Take what there is of a file that breaks off.
        fps: Frames per second of an image folder.
        options: Passed to FFmpeg as they are.
    """

    hwaccel: str | None = None
    format: str | None = None
    timeout_s: float = 5.0
    low_latency: bool = False
    allow_truncated: bool = False
    fps: float = 25.0
    options: tuple[tuple[str, str], ...] = ()


DEFAULTS = SourceOptions()


def is_stream(place: str) -> bool:
    """Whether a place is a live stream or a camera, not a file."""
    is_url = bool(_URL.match(place)) and not place.startswith(_FILE_URLS)
    return is_url or place.startswith("/dev/video")


def redacted(text: str) -> str:
    """The text without user names, passwords and tokens of the addresses in it."""
    text = re.sub(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@]+@", r"\1***@", text)
    return re.sub(
        r"(?i)([?&;](?:[^=&\s]*(?:token|key|pass|passwd|password|pwd|secret|auth|sig)[^=&\s]*)=)[^&\s:]+",
        r"\1***",
        text,
    )
