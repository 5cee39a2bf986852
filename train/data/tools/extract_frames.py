"""Cuts videos into a pool of frames for training without labels.

    cut_videos([Path("op.mp4")], Path("pool"), CutConfig(seconds=2.0))

Left out are black frames, frames from outside the body, and near-copies of frames already taken.
Pictures carry no metadata, and folders are numbered: file names of videos may name patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tomli_w
from numpy.typing import NDArray

from trocar.contract.bundle import check_output, replaced_folder, write_atomic
from trocar.contract.config import require
from trocar.contract.errors import DataError
from trocar.contract.pictures import encode_picture
from trocar.train.data.io.video import iterate, video_info

REASONS = ("black", "outside", "copy")


@dataclass(frozen=True, kw_only=True)
class CutConfig:
    """Which frames are taken.

    Attributes:
        every: Every n-th frame is looked at.
        seconds: Shortest time between two frames looked at; 0 leaves the choice to ``every``.
        distance: A frame is a copy when at most so many of 64 bits of its perceptual hash differ
            from a frame taken before; below 0, copies are taken.
        black: Frames of a mean brightness below this (0..255) are left out.
        warm: Frames of whose lit pixels less than this share is reddish are left out as outside
            the body; 0 takes all.
        image_format: ``png``, or ``jpg`` (quality 95).
        keep_names: Folders are named like the videos instead of numbered.
    """

    every: int = 1
    seconds: float = 1.0
    distance: int = 4
    black: float = 12.0
    warm: float = 0.2
    image_format: str = "png"
    keep_names: bool = False

    def __post_init__(self) -> None:
        require(
            (self.every >= 1, "every must be at least 1"),
            (self.seconds >= 0, "seconds must be at least 0"),
            (self.distance <= 32, "distance must be at most 32"),
            (0 <= self.black <= 255, "black must be 0..255"),
            (0 <= self.warm <= 1, "warm must be 0..1"),
            (self.image_format in ("png", "jpg"), "image_format must be png or jpg"),
        )


def cut_videos(
    videos: Sequence[Path],
    out: Path,
    config: CutConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Writes ``images/<video>/<frame number>``; a video is a group.

    Args:
        videos: In the order that numbers their folders.
        out: Folder to make; whole or absent.
        config: Which frames are taken.
        progress: Called with frames decoded and about how many there are.

    Returns:
        Frames by what became of them: ``taken``, ``black``, ``outside``, ``copy``.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: A video cannot be read, breaks off, or no frame is left.
        SinkError: The disk is full or not writable.
    """
    config = config or CutConfig()
    check_output(out)
    total = sum(video_info(video).frames for video in videos)  # all of them open, or none is cut
    counts: Counter[str] = Counter({"taken": 0, **dict.fromkeys(REASONS, 0)})
    before = 0
    with replaced_folder(out) as folder:
        taken: list[int] = []
        for index, video in enumerate(videos, 1):
            name = video.stem if config.keep_names else f"video{index:03d}"
            number = 0
            for number, frame in _chosen(video, config):
                reason = _reason(frame, config, taken)
                counts[reason or "taken"] += 1
                if not reason:
                    path = folder / "images" / name / f"{number:07d}.{config.image_format}"
                    write_atomic(path, encode_picture(frame, path.suffix))
                if progress:
                    progress(min(before + number + 1, total), total)
            before += video_info(video).frames
        if not counts["taken"]:
            listed = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n)
            raise DataError(
                f"no frame of {len(videos)} videos is left: {listed or 'none was decoded'}",
                remedy="lower --black and --warm, or name other videos",
            )
        facts = {"name": out.name, "taken": counts["taken"]}
        write_atomic(folder / "dataset.toml", tomli_w.dumps(facts).encode())
    return dict(counts)


def _chosen(video: Path, config: CutConfig) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    last = -float("inf")
    for number, seconds, frame in iterate(video, every=config.every):
        # Half a millisecond of grace: time stamps are rounded.
        if seconds - last + 5e-4 >= config.seconds:
            last = seconds
            yield number, frame


def _reason(frame: NDArray[np.uint8], config: CutConfig, taken: list[int]) -> str:
    if frame.mean() < config.black:
        return "black"
    if config.warm and warm_share(frame) < config.warm:
        return "outside"
    code = perceptual_hash(frame)
    if any((code ^ other).bit_count() <= config.distance for other in taken):
        return "copy"
    taken.append(code)
    return ""


def warm_share(frame: NDArray[np.uint8]) -> float:
    """Share of a frame's lit pixels that are reddish, 0..1.

    Inside the body nearly everything lit is red, pink or yellow; drapes, gowns, the inside of a
    trocar and screens of one colour are not. Glare and shadow are not counted.
    """
    small = cv2.resize(frame, (96, 72), interpolation=cv2.INTER_AREA).astype(np.float32)
    light = small.max(axis=2)
    lit = (light > 40) & (small.min(axis=2) < 230)
    if lit.sum() < 0.02 * lit.size:
        return 0.0
    red, green, blue = (small[..., i] for i in range(3))
    warm = (red > 1.08 * blue) & (red > 1.02 * green)
    return float(warm[lit].mean())


def perceptual_hash(frame: NDArray[np.uint8]) -> int:
    """A 64-bit difference hash: whether brightness rises from each cell to its right neighbour."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
