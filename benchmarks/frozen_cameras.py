"""How soon a frozen camera behind an encoder is recognised, and false alarms on moving films.

python benchmarks/frozen_cameras.py FILM...     # e.g. the films of the EndoVis 2015 robotic set

Each film is repeated three times at 360x288 and 25 frames/s in eleven encodings, for the false
alarms; and it is stopped at its 500th picture for ten seconds, for the time until it is recognised.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from helpers.live.scenes import read_all
from numpy.typing import NDArray

from trocar.runtime.live.image_checks import ImageQualityCheck

FPS = 25
MOVING, FROZEN = 500, 250
_FAST = {"preset": "ultrafast", "tune": "zerolatency"}
_VERY_FAST = {"preset": "veryfast", "tune": "zerolatency"}
CODECS: dict[str, tuple[str, dict[str, str], int, int]] = {
    "x264 crf 18, key frame 25": ("libx264", {**_FAST, "crf": "18"}, 0, 25),
    "x264 crf 23, key frame 25": ("libx264", {**_FAST, "crf": "23"}, 0, 25),
    "x264 medium crf 23, 50": ("libx264", {"preset": "medium", "crf": "23"}, 0, 50),
    "x264 crf 30, 50": ("libx264", {**_VERY_FAST, "crf": "30"}, 0, 50),
    "x264 1 Mbit/s, 25": ("libx264", _VERY_FAST, 1_000_000, 25),
    "x264 4 Mbit/s, 50": ("libx264", _VERY_FAST, 4_000_000, 50),
    "MPEG-2 1 Mbit/s, 12": ("mpeg2video", {}, 1_000_000, 12),
    "MPEG-2 2 Mbit/s, 12": ("mpeg2video", {}, 2_000_000, 12),
    "MPEG-2 6 Mbit/s, 15": ("mpeg2video", {}, 6_000_000, 15),
    "MPEG-2 q 4, 15": ("mpeg2video", {"qmin": "4", "qmax": "4"}, 0, 15),
    "MJPEG q 3": ("mjpeg", {"qmin": "3", "qmax": "3"}, 0, 1),
}
"""Name: encoder, its options, bits a second (0: by quality), frames between key frames."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="+", type=Path)
    given = parser.parse_args()
    total = alarms = 0
    for film in given.films:
        pictures = [cv2.resize(p, (360, 288), interpolation=cv2.INTER_AREA) for p in read_all(film)]
        looped = pictures * 3
        for name, codec in CODECS.items():
            moving = frozen(encoded(looped, *codec))
            stopped = frozen(encoded(looped[:MOVING] + [looped[MOVING]] * FROZEN, *codec))
            wrong = sum(moving) + sum(stopped[:MOVING])
            total += len(moving) + MOVING
            alarms += wrong
            seen = stopped[MOVING:]
            first = f"{seen.index(True) / FPS:.2f} s" if any(seen) else "never"
            print(f"{film}: {name}: {wrong} false alarms, frozen after {first}", flush=True)
    print(f"{alarms} of {total} moving pictures called frozen")


def encoded(
    pictures: Sequence[NDArray[np.uint8]],
    codec: str,
    options: dict[str, str],
    bit_rate: int,
    gop: int,
) -> list[NDArray[np.uint8]]:
    """The pictures after the encoder and its decoder, ``[H,W,3]`` RGB."""
    file = io.BytesIO()
    with av.open(file, "w", format="avi" if codec == "mjpeg" else "mpegts") as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        if bit_rate:
            stream.bit_rate = bit_rate
        for index, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def frozen(pictures: Sequence[NDArray[np.uint8]]) -> list[bool]:
    """Of each picture, whether it is called frozen."""
    check = ImageQualityCheck()
    return ["frozen" in check.update(p, i / FPS) for i, p in enumerate(pictures)]


if __name__ == "__main__":
    main()
