"""Which frames a model has learnt from, so that nobody scores it on them unawares.

    source = {"trained_on": pack([train])}                # kept in checkpoint and bundle
    unseen_frames(test, source["trained_on"])

Frames are kept as short digests: bundles are handed on, and names of files may name patients. A
frame is known again by its name in its set and the size of its file: a copy that was converted is
another frame.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from trocar.train.data.sample import FrameSet, Item

_BYTES = 5  # among 10 000 frames trained on, one in 100 million new ones looks as if it were known


def pack(sets: Iterable[FrameSet]) -> str:
    """The frames of several sets as text: seven characters a frame."""
    digests = {_digest(item) for frames in sets for item in frames}
    return base64.b85encode(b"".join(sorted(digests))).decode()


def unseen_frames(frames: FrameSet, trained_on: str) -> FrameSet:
    """The frames of groups that a model has not learnt from; of no known group, the frames.

    Args:
        frames: A set.
        trained_on: What `pack` made; empty where it is not known.
    """
    data = base64.b85decode(trained_on)
    known = {data[i : i + _BYTES] for i in range(0, len(data), _BYTES)}
    seen = {item.name: item.group for item in frames if _digest(item) in known}
    groups = {group for group in seen.values() if group}
    return frames.only(
        item.name for item in frames if item.name not in seen and item.group not in groups
    )


def _digest(item: Item) -> bytes:
    size = item.image.stat().st_size if item.image.is_file() else 0
    return hashlib.blake2b(f"{item.name}\0{size}".encode(), digest_size=_BYTES).digest()
