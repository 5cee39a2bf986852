"""Made-up photographs of tools that differ in shape and colour, on uneven ground."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "grasper": ("bar", (40, 70, 230)),
    "scissors": ("cross", (235, 225, 40)),
    "needle holder": ("ring", (40, 200, 70)),
    "hook": ("corner", (230, 40, 40)),
    "clip applier": ("fork", (210, 50, 210)),
    "bone saw": ("teeth", (60, 220, 220)),
}


def picture(kind: str, seed: int, side: int = 72) -> NDArray[np.uint8]:
    """``[side, side, 3]`` RGB of a tool of `KINDS`, another pose for each seed."""
    shape, colour = KINDS[kind]
    rng = np.random.default_rng((seed, sum(map(ord, kind))))
    ground = rng.uniform(85, 135, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(ground, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    image = np.ascontiguousarray(image.astype(np.uint8))
    ink = tuple(int(np.clip(c + rng.integers(-25, 26), 0, 255)) for c in colour)
    turn = rng.uniform(-0.5, 0.5)
    centre = np.array((side / 2, side / 2)) + rng.uniform(-4, 4, 2)
    wide = max(2, round(side / 12))

    def at(x: float, y: float) -> tuple[int, int]:
        c, s = np.cos(turn), np.sin(turn)
        spot = centre + side * np.array((c * x - s * y, s * x + c * y))
        return round(float(spot[0])), round(float(spot[1]))

    lines: dict[str, Sequence[tuple[float, float, float, float]]] = {
        "bar": [(-0.35, 0, 0.35, 0)],
        "cross": [(-0.3, -0.3, 0.3, 0.3), (-0.3, 0.3, 0.3, -0.3)],
        "corner": [(-0.25, -0.3, -0.25, 0.3), (-0.25, 0.3, 0.3, 0.3)],
        "fork": [(0, 0, 0, 0.38), (0, 0, -0.25, -0.3), (0, 0, 0.25, -0.3)],
        "teeth": [(-0.35, 0.1, 0.35, 0.1)]
        + [(x, 0.1, x, -0.12) for x in (-0.3, -0.15, 0.0, 0.15, 0.3)],
        "ring": [],
    }
    for x0, y0, x1, y1 in lines[shape]:
        cv2.line(image, at(x0, y0), at(x1, y1), ink, wide, cv2.LINE_AA)
    if shape == "ring":
        cv2.circle(image, at(0, 0), round(0.28 * side), ink, wide, cv2.LINE_AA)
    grain = rng.normal(0, 5, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def write(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def write_folders(
    root: Path, counts: dict[str, int], *, split: str = "train", first: int = 0
) -> Path:
    """Class folders below a split folder; ``counts`` photographs of each class."""
    for kind, count in counts.items():
        for number in range(first, first + count):
            write(root / split / kind / f"{number:03d}.png", picture(kind, number))
    return root


def write_yolo(root: Path, kinds: Sequence[str], each: int) -> Path:
    """A YOLO set: one tool somewhere in a larger picture, its box in a text file."""
    (root / "data.yaml").parent.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(f"nc: {len(kinds)}\nnames: {list(kinds)!r}\n")
    for split in ("train", "valid"):
        for label, kind in enumerate(kinds):
            for number in range(each):
                canvas = np.full((120, 160, 3), 90, np.uint8)
                canvas[20:92, 60:132] = picture(kind, number)
                write(root / split / "images" / f"{label}_{number}.png", canvas)
                text = f"{label} {96 / 160} {56 / 120} {72 / 160} {72 / 120}\n"
                place = root / split / "labels" / f"{label}_{number}.txt"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
    return root


def write_omniglot(root: Path, kinds: Sequence[str], each: int) -> Path:
    """An archive in Omniglot's layout, two characters an alphabet."""
    root.mkdir(parents=True, exist_ok=True)
    for part in (1, 2):
        with zipfile.ZipFile(root / f"images_background_small{part}.zip", "w") as file:
            for index, kind in enumerate(kinds):
                folder = f"images_background_small{part}/Alphabet{index // 2}/character{index:02d}"
                file.writestr(f"{folder}/", "")
                for number in range(each):
                    good, data = cv2.imencode(".png", picture(kind, number, 40)[..., 0])
                    assert good
                    file.writestr(f"{folder}/{index:04d}_{number:02d}.png", data.tobytes())
    return root
