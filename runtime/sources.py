"""Where frames come from: video files, streams, cameras, image folders, iterators, your own.

    for frame in open_source("video.mp4").frames():
        frame.image, frame.time

A capture card needs a class with the attributes and methods of `Source`, nothing more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import SourceError
from trocar.runtime.frames import check_frame

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
    from trocar.runtime.video import VideoSource

    return VideoSource(text, options)


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


class ImageFolder:
    """The images of a folder in the order of their names, or one image."""

    live = False

    def __init__(self, path: Path, *, fps: float = 25.0) -> None:
        self.name = str(path)
        self.fps: float | None = fps
        if path.is_dir():
            self._files = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            )
        else:
            self._files = [path]
        if not self._files:
            raise SourceError(
                f"{path} holds no images",
                remedy=f"name a folder with {', '.join(sorted(IMAGE_SUFFIXES))} files, or a video",
            )
        self.total: int | None = len(self._files)
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """Reads one image after the other.

        Raises:
            SourceError: An image cannot be read; names it.
        """
        for index, file in enumerate(self._files):
            if self._closed:
                return
            started = monotonic_ns()
            image = read_image(file)
            yield Frame(
                image=image,
                index=index,
                time=index / (self.fps or 25.0),
                captured_ns=started,
                decode_ms=(monotonic_ns() - started) / 1e6,
            )

    def close(self) -> None:
        """Stops."""
        self._closed = True


def read_image(file: Path) -> NDArray[np.uint8]:
    """Reads an image as ``[H, W, 3]`` uint8 RGB, turned as its EXIF data say.

    Raises:
        SourceError: It is missing or no image.
    """
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error}", remedy="check the path") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise SourceError(
            f"{file} is no image that can be read", remedy="replace it or take it out of the folder"
        )
    rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


class IteratorSource:
    """Frames from Python: any iterable of ``[H, W, 3]`` uint8 RGB arrays."""

    def __init__(
        self,
        images: Iterable[NDArray[Any]],
        *,
        fps: float | None = None,
        name: str = "iterator",
        live: bool = False,
    ) -> None:
        self.name = name
        self.fps = fps
        self.live = live
        self.total: int | None = len(images) if isinstance(images, Sized) else None
        self._images = images
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """Takes one image after the other; a live source's time is when it was taken.

        Raises:
            ArgumentError: A frame is of the wrong type or shape.
        """
        started = monotonic_ns()
        for index, image in enumerate(self._images):
            if self._closed:
                return
            now = monotonic_ns()
            paced = self.fps is not None and not self.live
            yield Frame(
                image=check_frame(image),
                index=index,
                time=index / self.fps if paced and self.fps else (now - started) / 1e9,
                captured_ns=now,
            )

    def close(self) -> None:
        """Stops."""
        self._closed = True


class Paced:
    """A file that plays as if it were live: each frame comes at its time."""

    live = True

    def __init__(self, source: Source, *, speed: float = 1.0) -> None:
        self._source = source
        self._speed = speed
        self.name = source.name
        self.fps = None if source.fps is None else source.fps * speed
        self.total = source.total

    def frames(self) -> Iterator[Frame]:
        """Holds each frame back until its time; its capture is when it is let go."""
        begun: int | None = None
        for frame in self._source.frames():
            due = frame.time / self._speed
            if begun is None:
                begun = monotonic_ns() - round(due * 1e9)
            time.sleep(max(0.0, due - (monotonic_ns() - begun) / 1e9))
            yield Frame(
                image=frame.image,
                index=frame.index,
                time=frame.time,
                captured_ns=monotonic_ns(),
                decode_ms=frame.decode_ms,
            )

    def close(self) -> None:
        """Stops."""
        self._source.close()
