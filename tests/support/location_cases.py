"""Label maps for the kernels that locate instruments, and the block shapes they run under."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from trocar.cuda_kernels.backends.launch_plan import Tuning

TUNINGS = (
    Tuning(threads=32, blocks=1),
    Tuning(threads=64, blocks=3),
    Tuning(threads=128, blocks=64),
    Tuning(),
)


@dataclass(frozen=True)
class MapCase:
    """One label map with its confidence, the frame's size, and a block shape."""

    labels: NDArray[np.uint8]
    confidence: NDArray[np.generic] | None
    frame_size: tuple[int, int]
    tuning: Tuning
    backwards: bool
    seed: int


@st.composite
def map_cases(draw, *, classes: int = 4) -> MapCase:
    """Random maps: noise, blocks of several sizes, stripes; with and without confidences."""
    h, w = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    seed, block = draw(st.integers(0, 9999)), draw(st.sampled_from([1, 2, 5, 11]))
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.full(classes, 0.7))
    coarse = random.choice(classes, (-(-h // block), -(-w // block)), p=weights)
    labels = np.kron(coarse, np.ones((block, block)))[:h, :w].astype(np.uint8)
    if draw(st.booleans()):
        labels[:, ::3] = labels[:, :1]
    kind = draw(st.sampled_from([None, np.uint8, np.float16, np.float32]))
    values = random.random((h, w))
    confidence = None
    if kind is not None:
        confidence = (values * 255).astype(kind) if kind is np.uint8 else values.astype(kind)
    frame_size = draw(st.sampled_from([(h, w), (1080, 1920), (2 * h + 1, 3 * w)]))
    return MapCase(
        labels,
        confidence,
        frame_size,
        draw(st.sampled_from(TUNINGS)),
        draw(st.booleans()),
        seed,
    )


def spiral(side: int) -> NDArray[np.uint8]:
    """A map with one long winding region, one pixel wide."""
    labels = np.zeros((side, side), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    for length in [side - 1, *(n for n in range(side - 1, 0, -2) for _ in range(2))]:
        for _ in range(length):
            labels[y, x] = 1
            y, x = y + dy, x + dx
        labels[y, x] = 1
        dy, dx = dx, -dy
    return labels
