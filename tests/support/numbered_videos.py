"""Videos whose frames carry their numbers as bars, so that a test can read which frames came.

write(Path("a.mp4"), range(50))
[number_in(frame) for frame in decoded]      # [0, 1, … 49]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BITS = 10
HEIGHT, WIDTH = 96, 160


def numbered(
    number: int, height: int = HEIGHT, width: int = WIDTH, *, grain: int = 0
) -> NDArray[np.uint8]:
    """A picture ``[H, W, 3]`` whose ten columns are white where the number has a bit.

    ``grain`` adds noise, so that its data are not lost among the container's headers.
    """
    bits = np.array([(number >> bit) & 1 for bit in range(BITS)], np.uint8)
    columns = np.repeat(bits * 215 + 20, width // BITS)
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[:, : len(columns)] = columns[None, :, None]
    if grain:
        noise = np.random.default_rng(number).integers(-grain, grain + 1, picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return picture


def number_in(picture: NDArray[np.uint8]) -> int:
    """The number that a decoded picture carries."""
    step = picture.shape[1] // BITS
    height = picture.shape[0]
    middle = picture[height // 4 : -height // 4, :, 1].mean(0)
    return sum(
        1 << bit
        for bit in range(BITS)
        if middle[bit * step + step // 4 : (bit + 1) * step].mean() > 128
    )


def add_video(
    container: Any,
    numbers: Iterable[int],
    *,
    codec: str = "libx264",
    fps: int = 25,
    times: Sequence[Fraction] | None = None,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    pixels: str = "yuv420p",
    rotation: int = 0,
    interlaced: bool = False,
    grain: int = 0,
) -> None:
    """Encodes numbered pictures as a new stream of an open container and flushes it."""
    stream: Any = container.add_stream(codec, rate=fps, options=options or {})
    stream.height, stream.width, stream.pix_fmt = *size, pixels
    if times is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    if rotation:
        stream.set_display_rotation(rotation)
    if interlaced:
        flags = av.codec.context.Flags
        stream.codec_context.flags |= flags.interlaced_dct | flags.interlaced_me
    base = stream.codec_context.time_base or Fraction(1, fps)
    packets = []
    for index, number in enumerate(numbers):
        frame = av.VideoFrame.from_ndarray(numbered(number, *size, grain=grain), format="rgb24")
        frame = frame.reformat(format=pixels)
        time = Fraction(index, fps) if times is None else times[index]
        frame.pts, frame.time_base = round(time / base), base
        packets += stream.encode(frame)
    container.mux(packets + stream.encode(None))


def write(
    path: Path, numbers: Iterable[int], *, container: dict[str, str] | None = None, **video: Any
) -> Path:
    """Writes one video stream of numbered pictures; see `add_video`."""
    form = video.pop("form", None)
    with av.open(str(path), "w", format=form, options=container or {}) as out:
        add_video(out, numbers, **video)
    return path


def add_silence(container: Any, seconds: float, codec: str = "aac") -> None:
    """Adds a sound track of zeros."""
    stream: Any = container.add_stream(codec, rate=48000)
    packets = []
    for block in range(round(seconds * 48000 / 1024)):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = 48000, 1024 * block, Fraction(1, 48000)
        packets += stream.encode(frame)
    container.mux(packets + stream.encode(None))


def remuxed(source: Path, path: Path, *, shift_s: float = 0.0, form: str | None = None) -> Path:
    """Copies the packets of a video with their times shifted, as cutting without encoding does."""
    with av.open(str(source)) as given, av.open(str(path), "w", format=form) as out:
        stream = given.streams.video[0]
        target = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if not packet.size:
                continue
            shift = round(Fraction(shift_s) / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.stream = target
            out.mux(packet)
    return path
