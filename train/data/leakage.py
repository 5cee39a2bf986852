"""Records which frames a model was trained on, so that it is not scored on them.

    source = {"trained_on": fingerprint([train])}         # written to checkpoint and bundle
    unseen = unseen_frames(test, source["trained_on"])

The record holds short digests instead of names: bundles are passed on, and file names may identify
patients. A digest depends on a frame's name in its set and on the size of its file in bytes, so a
frame that was converted to another format counts as another frame.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from trocar.train.data.sample import FrameSet, Item

_BYTES = 5  # with 10 000 training frames, one new frame in 100 million matches by chance


def fingerprint(sets: Iterable[FrameSet]) -> str:
    """Digests of the frames of several sets, as text: seven characters for each frame."""
    digests = {_digest(item) for frames in sets for item in frames}
    return base64.b85encode(b"".join(sorted(digests))).decode()


def unseen_frames(frames: FrameSet, trained_on: str) -> FrameSet:
    """The frames that a model was not trained on, without the other frames of their groups.

    Args:
        frames: A set. Of a frame without group, only the frame itself is left out.
        trained_on: What `fingerprint` returned; empty where it is not known.
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
