"""Small videos for tests, whole and broken, and sources that misbehave on purpose."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from tiny_bundle import tiny_frame

from trocar.contract.results import FrameResult
from trocar.runtime.sources.base import Frame


@functools.lru_cache(maxsize=256)
def picture(index: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """The tiny scene with its bars moved and a little fresh noise, as a camera's picture has.

    Made once: callers leave it as it is.
    """
    frame = tiny_frame(height, width, shift=index % 10).astype(np.int16)
    noise = np.random.default_rng(index).integers(-3, 4, frame.shape, np.int16)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def write_video(
    path: Path,
    *,
    frames: int,
    height: int = 120,
    width: int = 160,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
    rotation: int = 0,
) -> Path:
    """Writes the moving tiny scene."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            frame.pts = index if times is None else times[index]
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """A second of a tone, no picture."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        wave = (np.sin(np.arange(44100) / 20) * 0.3).astype(np.float32)
        for start in range(0, 44032, 1024):
            frame = av.AudioFrame.from_ndarray(
                wave[None, start : start + 1024], format="fltp", layout="mono"
            )
            frame.sample_rate = 44100
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_video(path: Path) -> list[NDArray[np.uint8]]:
    """All frames of a file, RGB."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def until(true: Callable[[], bool], seconds: float = 90.0) -> bool:
    """Waits for something to be so, on a machine however busy; whether it came."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if true():
            return True
        time.sleep(0.02)
    return False


class Camera:
    """A live source that gives pictures at a steady rate, and faults at given frames."""

    live = True
    total = None

    def __init__(
        self,
        *,
        frames: int,
        fps: float = 100.0,
        faults: dict[int, Any] | None = None,
        size: tuple[int, int] = (120, 160),
    ) -> None:
        self.name = "camera"
        self.fps = fps
        self.closed = False
        self._frames = frames
        self._faults = faults or {}
        self._size = size

    def frames(self) -> Iterator[Frame]:
        begun = time.monotonic()
        for index in range(self._frames):
            if self.closed:
                return
            fault = self._faults.get(index)
            if callable(fault):
                fault()
            image = fault if isinstance(fault, np.ndarray) else picture(index % 50, *self._size)
            time.sleep(max(0.0, begun + index / self.fps - time.monotonic()))
            yield Frame(image=image, index=index, time=index / self.fps, captured_ns=monotonic_ns())

    def close(self) -> None:
        self.closed = True


class Turns:
    """A step that counts results whose frame was there before the model's last two turns."""

    name = "turns"

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.late = 0

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        self.ends.append(monotonic_ns())
        self.late += len(self.ends) > 2 and frame.captured_ns < self.ends[-3]
        return result
