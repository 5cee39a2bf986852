"""Phantom scenes whose instruments are of one class and cross, for crossing_instruments.py.

frames = crossing_scenes(Path("runs/crossing"))
frames.subset("test").instances is not None
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helpers.methods.scenes import as_binary

from trocar.contract.text.outside_json import load_json
from trocar.train.data.phantom import PhantomConfig, PhantomFrame, phantom_frames, write_phantom
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet

SIZE = (96, 128)
CLIP_LENGTH = 4
FILM_LENGTH = 20
FPS = 10
"""Frames per second of the films on which identities are counted."""
FIRST_FILM = 5000
"""Number of their first scene: no data set reaches it."""

Points = tuple[tuple[float, float], ...]


def crossing_scenes(work: Path, *, clips: int = 100) -> FrameSet:
    """Scenes with one class, rendered if the folder does not exist."""
    folder = work / f"crossing-{clips}"
    if not folder.exists():
        write_phantom(folder, _config(frames=clips * CLIP_LENGTH, clip_length=CLIP_LENGTH, fps=2))
    return as_binary(open_frames(folder))


def films(count: int = 6) -> Iterator[list[PhantomFrame]]:
    """Films of other scenes, in memory."""
    for number in range(count):
        config = _config(frames=FILM_LENGTH, clip_length=FILM_LENGTH, fps=FPS)
        yield list(phantom_frames(config, first_clip=FIRST_FILM + number))


def true_tips(root: Path) -> dict[str, dict[int, Points]]:
    """Visible tips by frame and number of the instance."""
    listed = load_json((root / "tips.json").read_text(encoding="utf-8"))
    return {
        name: {
            int(one["instance"]): tuple((float(x), float(y)) for x, y in one["points"])
            for one in tips
            if one["visible"]
        }
        for name, tips in listed.items()
    }


def _config(*, frames: int, clip_length: int, fps: float) -> PhantomConfig:
    return PhantomConfig(
        frames=frames,
        size=SIZE,
        seed=21,
        difficulty=0.3,
        clip_length=clip_length,
        fps=fps,
        instruments=(2, 3),
        crossing=True,
    )
