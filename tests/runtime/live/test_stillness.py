"""Frozen cameras behind encoders, and what must not be taken for one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from videos import picture

from trocar.runtime.live.image_checks import ImageQualityCheck

FPS = 10
MOVING, FROZEN = 80, 80


def encoded(pictures: Sequence[np.ndarray], codec: str, options: dict[str, str]) -> list[Any]:
    """The pictures after an encoder with a key frame a second, and a decoder."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        stream.codec_context.gop_size = FPS
        if codec == "mpeg2video":
            stream.bit_rate = 400_000
        for index, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def faults(pictures: Sequence[np.ndarray]) -> list[bool]:
    """Of each picture, whether it is called frozen."""
    check = ImageQualityCheck()
    return ["frozen" in check.update(image, index / FPS) for index, image in enumerate(pictures)]


CODECS = [
    ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}),
    ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "crf": "30"}),
    ("mpeg2video", {}),
]


@pytest.mark.parametrize(("codec", "options"), CODECS)
def test_a_camera_that_freezes_before_its_encoder_is_seen(
    codec: str, options: dict[str, str]
) -> None:
    moving = [picture(index) for index in range(MOVING)]
    pictures = encoded(moving + [picture(30)] * FROZEN, codec, options)
    frozen = faults(pictures)
    assert not any(frozen[: MOVING + FPS])
    assert all(frozen[MOVING + 5 * FPS : MOVING + FROZEN])
    # Bit equality alone would not do: every second holds a picture that differs.
    last = pictures[MOVING + 5 * FPS :]
    differs = [i for i, (a, b) in enumerate(pairwise(last)) if not np.array_equal(a, b)]
    assert max(b - a for a, b in pairwise([-1, *differs])) <= FPS


def test_a_still_scene_with_a_cameras_noise_is_not_frozen() -> None:
    """Instruments at rest: the noise of the sensor goes on."""
    rng = np.random.default_rng(0)
    moving = [picture(index) for index in range(MOVING)]
    noise = rng.normal(0, 3, (FROZEN, 120, 160, 3))
    still = list(np.clip(picture(30) + noise, 0, 255).astype(np.uint8))
    options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18"}
    assert not any(faults(encoded(moving + still, "libx264", options)))


def test_a_stream_that_never_moved_is_not_called_frozen_for_it() -> None:
    """An encoder that removes all noise of a still scene: there is nothing to compare with."""
    rng = np.random.default_rng(0)
    base = picture(30).astype(np.int16)
    still = []
    for _ in range(MOVING + FROZEN):
        image = base.copy()
        # A few samples change a little, as after an encoder that is short of bits.
        rows, columns = rng.integers(0, 120, 60), rng.integers(0, 160, 60)
        image[rows, columns] += 1
        still.append(image.astype(np.uint8))
    assert not any(faults(still))


def test_a_slow_movement_is_not_frozen() -> None:
    """Hardly any change from frame to frame adds up."""
    moving = [picture(index) for index in range(MOVING)]
    slow = []
    for index in range(FROZEN):
        image = picture(30).copy()
        image[: 1 + index] //= 2
        slow.append(image)
    assert not any(faults(moving + slow)[MOVING + FPS :])
