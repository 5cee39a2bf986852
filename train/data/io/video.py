"""Frames of videos, by number or in order, decoded as `trocar run` decodes them.

for number, seconds, frame in iterate_frames(Path("op.mp4")): ...
frame = read_frame(Path("op.mp4"), 250)   # [H, W, 3] uint8 RGB
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.video.decoder import VideoDecoder
from trocar.contract.text.words import first_line


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What the header of a video says.

    Attributes:
        frames: Number of frames; computed from duration and rate if the header has none.
        rate: Frames per second.
        size: Height and width in pixels.
    """

    frames: int
    rate: float
    size: tuple[int, int]


def video_info(path: Path) -> VideoInfo:
    """Reads a video's header.

    Raises:
        DataError: It cannot be opened, or has no video track.
    """
    with _open(path) as decoder:
        return VideoInfo(
            frames=decoder.estimated_frames or 0, rate=decoder.fps or 0.0, size=decoder.size
        )


def iterate_frames(path: Path, *, every: int = 1) -> Iterator[tuple[int, float, NDArray[np.uint8]]]:
    """Decodes a video in order: number, time in seconds, and frame ``[H, W, 3]`` uint8 RGB.

    Args:
        path: The video.
        every: Only frames whose number is a multiple of it are converted and yielded.

    Raises:
        DataError: It cannot be opened, has no video track, or is truncated; the frames before
            the break have been yielded by then.
    """
    count = 0
    with _open(path) as decoder:
        try:
            for frame in decoder.frames():
                if frame.index % every == 0:
                    yield frame.index, frame.time, frame.image
                count += 1
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"{path} is truncated or damaged after frame {count}: {first_line(error)}",
                remedy="copy the video again, or trim it before that frame",
            ) from error
    if not count:
        raise DataError(f"{path} has no frames", remedy="copy the video again")
    if decoder.damage.ends_early:
        raise DataError(
            f"{path} is truncated after frame {count}: {decoder.damage.ends_early}",
            remedy="copy the video again, or trim it before that frame",
        )


def read_frame(path: Path, number: int) -> NDArray[np.uint8]:
    """One frame by its number, ``[H, W, 3]`` uint8 RGB; fast for rising numbers.

    Each thread has a few open videos and continues decoding from the last frame. For training in
    random order, write the frames to files first (``trocar data import``).

    Raises:
        DataError: The video cannot be read, or has no such frame.
    """
    return _cursor(path, os.getpid(), threading.get_ident()).frame(number)


class _Cursor:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.restart()

    def restart(self) -> None:
        self.number = -1
        self.frames = iterate_frames(self.path)
        self.last: NDArray[np.uint8] | None = None

    def frame(self, number: int) -> NDArray[np.uint8]:
        if number < self.number:
            self.restart()
        while self.number < number or self.last is None:
            found = next(self.frames, None)
            if found is None:
                raise DataError(
                    f"{self.path} has {self.number + 1} frames, got frame number {number}",
                    remedy="copy the video again: its labels name later frames",
                )
            self.number, _, self.last = found
        return self.last


@functools.lru_cache(maxsize=16)
def _cursor(path: Path, _process: int, _thread: int) -> _Cursor:
    # Each thread needs its own decoder, and a forked process must not share its parent's file.
    return _Cursor(path)


def _open(path: Path) -> VideoDecoder:
    if not path.is_file():
        raise DataError(f"there is no video {path}", remedy="check the path")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes)", remedy="copy or download the video again")
    try:
        return VideoDecoder(str(path))
    except LookupError as error:
        raise DataError(f"{path} {error}", remedy="pass a video, not a sound file") from error
    except (av.FFmpegError, OSError) as error:
        raise DataError(
            f"{path} cannot be opened as a video: {first_line(error)}",
            remedy="copy it again, or convert it to MP4",
        ) from error
