"""Synthetic endoscope frames and videos with two moving instruments.

frame = scene(0, 240, 320)  # [240,320,3] RGB
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray


def scene(index: int, height: int = 1080, width: int = 1920) -> NDArray[np.uint8]:
    """``[H,W,3]`` RGB: tissue with a fixed texture, noise per frame, two moving instruments."""
    frame = cv2.resize(_tissue(), (width, height), interpolation=cv2.INTER_CUBIC)
    unit = height / 540
    swing = np.sin(index / 17)
    for colour, start, end in (
        ((60, 70, 210), (-10, 120), (400 + 60 * swing, 250 + 40 * np.cos(index / 23))),
        ((60, 200, 70), (970, 430), (600 - 50 * np.cos(index / 19), 330 + 50 * swing)),
    ):
        a = np.array(start, float) * unit * (width / height / (16 / 9), 1)
        b = np.array(end, float) * unit * (width / height / (16 / 9), 1)
        along = (b - a) / np.linalg.norm(b - a)
        joint = b - along * 60 * unit
        _line(frame, a, joint, colour, 22 * unit)
        for side in (-1, 1):
            turn = side * (0.15 + 0.12 * np.sin(index / 11))
            c, s = np.cos(turn), np.sin(turn)
            jaw = joint + 60 * unit * np.array(
                [c * along[0] - s * along[1], s * along[0] + c * along[1]]
            )
            _line(frame, joint, jaw, colour, 9 * unit)
    noise = np.random.default_rng(index).integers(-6, 7, (height // 2, width // 2), np.int16)
    grain = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    return np.clip(frame.astype(np.int16) + grain, 0, 255).astype(np.uint8)


def surgical_video(
    path: Path, *, frames: int, height: int = 1080, width: int = 1920, fps: int = 30
) -> Path:
    """Write H.264 at the quality of endoscope recordings, unless the file exists."""
    if path.exists():
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(index, height, width), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_all(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Decode a video frame by frame: ``[H,W,3]`` RGB each."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


@cache
def _tissue() -> NDArray[np.uint8]:
    """``[270,480,3]``: reddish tissue with texture at two scales."""
    rng = np.random.default_rng(1)
    rough = cv2.GaussianBlur(rng.normal(0, 1, (270, 480)).astype(np.float32), (0, 0), 4)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (270, 480)).astype(np.float32), (0, 0), 1)
    wave = rough / rough.std() * 22 + fine / fine.std() * 7
    base = np.stack([165 + wave, 62 + wave * 0.6, 55 + wave * 0.5], axis=-1)
    return np.clip(base, 0, 255).astype(np.uint8)


def _line(
    frame: NDArray[np.uint8],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    colour: tuple[int, int, int],
    width: float,
) -> None:
    start = (int(a[0]), int(a[1]))
    end = (int(b[0]), int(b[1]))
    cv2.line(frame, start, end, colour, max(1, round(width)), cv2.LINE_AA)
