"""Photographs, frames and films of benchmarks/enrolment.py, and the scores on them.

write_film(photos, Path("film.mp4"))  # class and box of every frame
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.classification.sample import Photo, PhotoSet

SHOWN = 8
"""Frames of a film that show each photograph."""


def write_crops(
    photos: PhotoSet | Iterable[Photo], folder: Path, of: PhotoSet | None = None
) -> list[Path]:
    """Write crops as files: in one folder per class, or all in one folder if ``of`` is given."""
    source = of or photos
    assert isinstance(source, PhotoSet)
    files = []
    for number, item in enumerate(photos):
        name = source.table[item.label].name
        stem = f"{number:04d}.png" if of is None else f"{item.label}_{number}.png"
        file = folder / stem if of is not None else folder / name / stem
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), source.read(item)[..., ::-1])
        files.append(file)
    return files


def write_frames(photos: PhotoSet, root: Path) -> None:
    """Write whole photographs with masks, which are computed from the boxes of the set.

    The empty tray is the median of the training photographs. The mask of an instrument is the
    convex hull of the pixels in its box that differ from the tray.
    """
    sample = photos.subset("train").items[::9]
    tray = np.median(np.stack([_picture(p) for p in sample]), axis=0).astype(np.int16)
    for kind in ("images", "masks", "splits"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    rows = [("background", "false"), ("tool", "true")]
    text = "".join(
        f'[[classes]]\nid = {i}\nname = "{n}"\ninstrument = {b}\n' for i, (n, b) in enumerate(rows)
    )
    (root / "classes.toml").write_text(text, encoding="utf-8")
    for split, every in (("train", 1), ("val", 5)):
        names = []
        for number, photo in enumerate(photos.subset(split).items[::every]):
            names.append(f"{split}{number:04d}")
            image = _picture(photo)
            x0, y0, x1, y1 = (round(v) for v in _corners(photo, image.shape))
            away = np.abs(image.astype(np.int16) - tray).max(-1)[y0:y1, x0:x1] > 24
            points = np.argwhere(away)[:, ::-1].astype(np.int32)
            mask = np.zeros(image.shape[:2], np.uint8)
            if len(points) > 2:
                cv2.fillConvexPoly(mask, cv2.convexHull(points) + np.array([x0, y0]), 1)
            assert cv2.imwrite(str(root / "images" / f"{names[-1]}.png"), image)
            assert cv2.imwrite(str(root / "masks" / f"{names[-1]}.png"), mask)
        (root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def write_film(photos: list[Photo], path: Path) -> list[tuple[int, tuple[float, ...]]]:
    """Write a video that shows each photograph for some frames, slowly moved and zoomed.

    Returns:
        Class and box of every frame.
    """
    import av

    truth = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18", "threads": "1"})
        height, width = _picture(photos[0]).shape[:2]  # all of them are of one size
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number, photo in enumerate(photos):
            image = _picture(photo)
            corners = np.array(_corners(photo, image.shape)).reshape(2, 2)
            centre = corners.mean(0)
            turn = 2 * np.pi * number / len(photos)
            for place in range(SHOWN):
                zoom, way = 0.9 + 0.1 * place / SHOWN, 8.0 * place / SHOWN
                shift = (1 - zoom) * centre + way * np.array([np.cos(turn), np.sin(turn)])
                warp = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
                moved = cv2.warpAffine(
                    image, warp, (width, height), borderMode=cv2.BORDER_REPLICATE
                )
                box = (zoom * corners + shift).clip(0, (width, height))
                truth.append((photo.label, tuple(box.ravel().tolist())))
                frame = av.VideoFrame.from_ndarray(moved[..., ::-1].copy(), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return truth


def name_at(line: dict[str, Any], box: tuple[float, ...]) -> str:
    """The name of the located instrument on the true box; empty if there is none."""
    best, name = 0.5, ""
    for one in line["instruments"]:
        a, b = np.array(one["box"], float).reshape(2, 2), np.array(box).reshape(2, 2)
        inside = np.prod((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])).clip(0))
        overlap = inside / (np.prod(a[1] - a[0]) + np.prod(b[1] - b[0]) - inside)
        if overlap >= best:
            best, name = overlap, one["classified"]["name"]
    return name


def rates(
    said: list[str], truth: list[tuple[int, tuple[float, ...]]], label: int, photos: PhotoSet
) -> dict[str, float]:
    """Rates over the frames of the enrolled class and over the frames of the others, 0..1."""
    new = photos.table[label].name
    shown = [photos.table[one].name for one, _ in truth]
    own = [word for word, name in zip(said, shown, strict=True) if name == new]
    rest = [(word, name) for word, name in zip(said, shown, strict=True) if name != new]
    return {
        "located": 1 - own.count("") / len(own),
        "right": own.count(new) / len(own),
        "unknown": own.count("unknown") / len(own),
        "others_right": sum(word == name for word, name in rest) / len(rest),
        "others_unknown": sum(word == "unknown" for word, _ in rest) / len(rest),
        "others_taken_for_it": sum(word == new for word, _ in rest) / len(rest),
    }


def _picture(photo: Photo) -> NDArray[np.uint8]:
    image = cv2.imread(str(photo.file))
    assert image is not None
    return np.asarray(image, np.uint8)


def _corners(photo: Photo, shape: tuple[int, ...]) -> tuple[float, ...]:
    x0, y0, x1, y1 = photo.box or (0, 0, 1, 1)
    return (x0 * shape[1], y0 * shape[0], x1 * shape[1], y1 * shape[0])


def box_area(photo: Photo) -> float:
    x0, y0, x1, y1 = photo.box or (0, 0, 0, 0)
    return (x1 - x0) * (y1 - y0)


def read_records(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "instruments" in line]


def film_table(folder: Path) -> Any:
    from trocar.train.data.readers import open_frames

    return open_frames(folder).table
