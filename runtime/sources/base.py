"""The protocol of sources, and what a source returns for each frame.

    frame = Frame(image=np.zeros((720, 1280, 3), np.uint8), index=0, time=0.0, captured_ns=0)

A capture card needs a class with the attributes and methods of `Source`, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FILE_URLS = ("file://",)
REDACTED = "***"
"""What `redacted` writes in place of a secret."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded frame.

    Attributes:
        image: ``[H, W, 3]`` uint8 RGB.
        index: Number of the decoded frame, from 0.
        time: Presentation time in seconds, from the stream where it has one.
        captured_ns: `time.monotonic_ns` when its data reached this process.
        decode_ms: Milliseconds of decoding and colour conversion.
    """

    image: NDArray[np.uint8]
    index: int
    time: float
    captured_ns: int
    decode_ms: float = 0.0


class Source(Protocol):
    """What a pipeline needs of a source.

    Attributes:
        name: Name for messages; holds no password.
        fps: Nominal frames a second, ``None`` when unknown.
        total: Number of frames, ``None`` when unknown or endless.
        live: Whether frames arrive at their own pace and are lost when they are not read.
    """

    @property
    def name(self) -> str:
        """Name for messages."""
        ...

    @property
    def fps(self) -> float | None:
        """Nominal frames a second."""
        ...

    @property
    def total(self) -> int | None:
        """Number of frames."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames arrive at their own pace."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Returns frames in order until the end."""
        ...

    def close(self) -> None:
        """Stops; a thread that waits in `frames` returns. May be called twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How sources are opened.

    Attributes:
        hwaccel: Hardware that decodes: ``cuda``, ``vaapi``, ``qsv`` …; ``None`` decodes on the CPU.
        format: Name of the FFmpeg input format, where it cannot be guessed (``v4l2``).
        timeout_s: Seconds without data after which a stream counts as lost.
        low_latency: Whether to decode for latency instead of throughput.
        allow_truncated: Whether a file that ends before its header says so is accepted.
        fps: Frames a second of an image folder.
        options: Passed to FFmpeg unchanged.
    """

    hwaccel: str | None = None
    format: str | None = None
    timeout_s: float = 5.0
    low_latency: bool = False
    allow_truncated: bool = False
    fps: float = 25.0
    options: tuple[tuple[str, str], ...] = ()


DEFAULTS = SourceOptions()


def is_stream(address: str) -> bool:
    """Whether an address is a live stream or a camera, not a file."""
    is_url = bool(_URL.match(address)) and not address.startswith(_FILE_URLS)
    return is_url or address.startswith("/dev/video")


def redacted(text: str) -> str:
    """The text with user names, passwords and tokens of addresses replaced by `REDACTED`."""
    text = re.sub(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@]+@", rf"\1{REDACTED}@", text)
    return re.sub(
        r"(?i)([?&;](?:[^=&\s]*(?:token|key|pass|passwd|password|pwd|secret|auth|sig)[^=&\s]*)=)[^&\s:]+",
        rf"\1{REDACTED}",
        text,
    )
