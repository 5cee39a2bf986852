"""Counts the photographs of each class, plots the counts, and makes long-tailed subsets.

    tailed = long_tailed(photos, factor=30, seed=0); plot_tail(tailed, Path("tail.png"))

Source of the exponential profile: Cui et al., "Class-Balanced Loss Based on Effective Number of
Samples", CVPR 2019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError, DataError
from trocar.contract.media.pictures import read_bytes, write_picture
from trocar.train.data.classification.sample import Photo, PhotoSet
from trocar.train.data.io.archives import read_member


@dataclass(frozen=True, kw_only=True)
class ClassStatistics:
    """Counts of a set.

    Attributes:
        names: Class names, most photographs first (by id where equal).
        counts: Their photographs.
        imbalance: Largest count over smallest.
        gini: Gini coefficient of the counts, 0 (equal) to 1.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    imbalance: float
    gini: float


def class_statistics(photos: PhotoSet) -> ClassStatistics:
    """Counts the classes that have photographs.

    Raises:
        DataError: The set is empty.
    """
    counts = photos.counts
    order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    if not order:
        raise DataError(f"{photos.root} has no photographs", remedy="add some")
    sizes = [int(counts[i]) for i in order]
    rising = np.sort(np.array(sizes, np.float64))
    ranks = np.arange(1, len(rising) + 1)
    gini = float((2 * ranks - len(rising) - 1) @ rising / (len(rising) * rising.sum()))
    return ClassStatistics(
        names=tuple(photos.table[i].name for i in order),
        counts=tuple(sizes),
        imbalance=sizes[0] / sizes[-1],
        gini=gini,
    )


def tail_counts(largest: int, classes: int, factor: float) -> tuple[int, ...]:
    """Counts that decrease exponentially from ``largest`` to ``largest / factor``, at least 1.

    Raises:
        ArgumentError: A factor below 1, or no classes.
    """
    if factor < 1 or classes < 1 or largest < 1:
        raise ArgumentError(
            f"a tail of {classes} classes from {largest} by a factor of {factor:g} was asked for",
            remedy="pass a factor of 1 or more",
        )
    shares = np.arange(classes) / max(classes - 1, 1)
    return tuple(max(1, round(largest * factor ** -float(share))) for share in shares)


def long_tailed(photos: PhotoSet, *, factor: float, seed: int) -> PhotoSet:
    """Removes photographs until the counts decrease exponentially by an imbalance factor.

    The seed decides the order of the classes and the photographs that stay. A class that has
    fewer photographs than its rank asks for keeps all of them.

    Raises:
        ArgumentError: A factor below 1.
    """
    rng = np.random.default_rng((seed, 0x7A11))
    counts = photos.counts
    present = np.flatnonzero(counts)
    order = rng.permutation(present)
    wanted = tail_counts(int(counts.max(initial=1)), max(len(order), 1), factor)
    labels = photos.labels
    chosen: set[str] = set()
    for place, label in enumerate(order.tolist()):
        positions = rng.permutation(np.flatnonzero(labels == label))[: wanted[place]]
        chosen |= {photos.items[int(p)].name for p in positions}
    return photos.only(chosen)


def plot_tail(photos: PhotoSet, path: Path, *, head: Iterable[int] = ()) -> None:
    """Writes a PNG bar chart of the counts, largest first; head classes have another colour."""
    statistics = class_statistics(photos)
    marked = {photos.table[i].name for i in head}
    row, wide, left = 24, 560, 300
    shown = statistics.names[:60]
    picture = np.full((row * len(shown) + 78, left + wide + 70, 3), 255, np.uint8)
    title = (
        f"{len(photos)} photographs, {len(statistics.names)} classes, imbalance "
        f"{statistics.imbalance:.1f}, Gini {statistics.gini:.2f}"
    )
    _write(picture, title, (12, 26), scale=0.56)
    if marked:
        _write(picture, "blue: head set   orange: the rest", (12, 48), scale=0.44)
    for place, (name, count) in enumerate(zip(shown, statistics.counts, strict=False)):
        y = 60 + place * row
        _write(picture, name if len(name) < 36 else name[:35] + "~", (12, y + 16))
        end = left + max(2, round(wide * count / statistics.counts[0]))
        colour = (0, 114, 178) if name in marked or not marked else (230, 159, 0)
        cv2.rectangle(picture, (left, y + 4), (end, y + row - 4), colour, -1)
        _write(picture, str(count), (end + 6, y + 16))
    write_picture(path, picture)


def duplicates(photos: PhotoSet) -> list[list[Photo]]:
    """Groups of photographs with equal bytes; two boxes of one image are not copies."""
    seen: dict[tuple[str, object], list[Photo]] = {}
    digests: dict[tuple[Path, str], str] = {}
    for item in photos:
        key = (item.file, item.member)
        if key not in digests:
            data = read_member(item.file, item.member) if item.member else read_bytes(item.file)
            digests[key] = hashlib.sha256(data).hexdigest()
        seen.setdefault((digests[key], item.box), []).append(item)
    return [group for group in seen.values() if len(group) > 1]


def check_duplicates(photos: PhotoSet) -> PhotoSet:
    """Raises an error for copies in two classes or two splits; other copies only give a note.

    Raises:
        DataError: The same photograph is in two classes or in two splits.
    """
    groups = duplicates(photos)
    split_of = {name: split for split, names in photos.splits.items() for name in names}
    for group in groups:
        classes = sorted({photos.table[item.label].name for item in group})
        if len(classes) > 1:
            raise DataError(
                f"the same photograph is in the classes {' and '.join(map(repr, classes))}: "
                + _names(group),
                remedy="remove the one that is labelled wrongly",
            )
        splits = sorted({split_of.get(item.name, "") for item in group})
        if len(splits) > 1:
            raise DataError(
                f"the same photograph is in the splits {' and '.join(splits)}: " + _names(group),
                remedy="remove one of them: scores on it would be too high",
            )
    if not groups:
        return photos
    extra = sum(len(group) - 1 for group in groups)
    return replace(
        photos, notes=(*photos.notes, f"{extra} photographs are copies of others in their class")
    )


def _names(group: Sequence[Photo]) -> str:
    return ", ".join(item.name for item in group[:4])


def _write(
    picture: NDArray[np.uint8], text: str, at: tuple[int, int], *, scale: float = 0.46
) -> None:
    shown = text.encode("ascii", "replace").decode()
    cv2.putText(picture, shown, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA)
