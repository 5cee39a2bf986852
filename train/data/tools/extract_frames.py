"""Extracts frames from videos, for training without labels.

    extract([Path("op.mp4")], Path("pool"), ExtractConfig(seconds=2.0))

Dark frames, frames from outside the body and near-copies of frames already taken are skipped. The
images carry no metadata, and the folders are numbered: file names of videos may identify patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tomli_w
from numpy.typing import NDArray

from trocar.contract.bundle import check_output, replaced_folder, write_atomic
from trocar.contract.config import Range, check_ranges
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.io.video import iterate_frames, video_info

REASONS = ("black", "outside", "copy")


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Which frames are taken.

    Attributes:
        every: Every n-th frame is considered.
        seconds: Shortest time between two frames that are considered; 0: ``every`` alone decides.
        max_hash_distance: A frame is a copy if at most so many of the 64 bits of its perceptual
            hash differ from those of a frame taken before; below 0, copies are taken too.
        min_brightness: Frames with a mean brightness below this (0 to 255) are skipped.
        min_red_fraction: Frames in which a smaller fraction of the lit pixels is reddish are
            skipped as outside the body; 0 skips none.
        image_format: ``png``, or ``jpg`` (quality 95).
        keep_names: Whether folders are named after the videos instead of numbered.
    """

    every: Annotated[int, Range(1)] = 1
    seconds: Annotated[float, Range(0)] = 1.0
    max_hash_distance: Annotated[int, Range(high=32)] = 4
    min_brightness: Annotated[float, Range(0, 255)] = 12.0
    min_red_fraction: Annotated[float, Range(0, 1)] = 0.2
    image_format: Literal["png", "jpg"] = "png"
    keep_names: bool = False

    def __post_init__(self) -> None:
        formats = ("png", "jpg")
        check_ranges(self, (self.image_format in formats, "image_format must be png or jpg"))


def extract(
    videos: Sequence[Path],
    out: Path,
    config: ExtractConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Writes ``images/<video>/<frame number>``; each video is a group.

    Args:
        videos: Their order numbers the folders.
        out: Folder to make; it is written completely or not at all.
        config: Which frames are taken.
        progress: Called with the number of frames decoded and the approximate total.

    Returns:
        Number of frames by result: ``taken``, ``black``, ``outside``, ``copy``.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: A video cannot be read or is truncated, or no frame is left.
        SinkError: The disk is full or not writable.
    """
    config = config or ExtractConfig()
    check_output(out)
    total = sum(video_info(video).frames for video in videos)  # fails before anything is written
    counts: Counter[str] = Counter({"taken": 0, **dict.fromkeys(REASONS, 0)})
    before = 0
    with replaced_folder(out) as folder:
        hashes: list[int] = []
        for index, video in enumerate(videos, 1):
            name = video.stem if config.keep_names else f"video{index:03d}"
            for number, frame in _candidates(video, config):
                reason = _reason_to_skip(frame, config, hashes)
                counts[reason or "taken"] += 1
                if not reason:
                    path = folder / "images" / name / f"{number:07d}.{config.image_format}"
                    write_picture(path, frame)
                if progress:
                    progress(min(before + number + 1, total), total)
            before += video_info(video).frames
        if not counts["taken"]:
            listed = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n)
            raise DataError(
                f"no frame of {len(videos)} videos is left: {listed or 'none was decoded'}",
                remedy="lower --min-brightness and --min-red-fraction, or name other videos",
            )
        facts = {"name": out.name, "taken": counts["taken"]}
        write_atomic(folder / "dataset.toml", tomli_w.dumps(facts).encode())
    return dict(counts)


def _candidates(video: Path, config: ExtractConfig) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    last = -float("inf")
    for number, seconds, frame in iterate_frames(video, every=config.every):
        # Time stamps are rounded, so half a millisecond too little is accepted.
        if seconds - last + 5e-4 >= config.seconds:
            last = seconds
            yield number, frame


def _reason_to_skip(frame: NDArray[np.uint8], config: ExtractConfig, hashes: list[int]) -> str:
    """One of `REASONS`, or an empty text; the hash of a frame that is taken joins ``hashes``."""
    if frame.mean() < config.min_brightness:
        return "black"
    if config.min_red_fraction and red_fraction(frame) < config.min_red_fraction:
        return "outside"
    code = perceptual_hash(frame)
    if any((code ^ other).bit_count() <= config.max_hash_distance for other in hashes):
        return "copy"
    hashes.append(code)
    return ""


def red_fraction(frame: NDArray[np.uint8]) -> float:
    """Fraction of the lit pixels of ``[H, W, 3]`` uint8 RGB that are reddish, 0..1.

    Inside the body, nearly all lit pixels are red, pink or yellow. Drapes, gowns, the inside of a
    trocar and screens of one colour are not. Glare and shadow are not counted.
    """
    small = cv2.resize(frame, (96, 72), interpolation=cv2.INTER_AREA).astype(np.float32)
    light = small.max(axis=2)
    lit = (light > 40) & (small.min(axis=2) < 230)
    if lit.sum() < 0.02 * lit.size:
        return 0.0
    red, green, blue = (small[..., i] for i in range(3))
    reddish = (red > 1.08 * blue) & (red > 1.02 * green)
    return float(reddish[lit].mean())


def perceptual_hash(frame: NDArray[np.uint8]) -> int:
    """A 64-bit difference hash: whether each cell is darker than its right neighbour."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
