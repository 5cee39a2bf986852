"""Finds the pictures of annotations, and compares their sizes without decoding them.

found, faults, notes = find_pictures(annotated_images, Path("images"), source=Path("labels.json"))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trocar.contract.media.pictures import list_images, read_image
from trocar.train.data.annotations.model import AnnotatedImage, listed
from trocar.train.data.sample import Fault

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An annotated image and its file.

    Attributes:
        annotated: The annotation, at the size of the picture as it is displayed.
        file: The picture.
        stem: Name of the picture below its folder, without suffix.
    """

    annotated: AnnotatedImage
    file: Path
    stem: str


def find_pictures(
    annotated_images: Sequence[AnnotatedImage],
    images: Path,
    *,
    source: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Picture], list[Fault], list[str]]:
    """Finds the picture of each annotated image by its name.

    A name may have more or fewer folders in front than the picture has below ``images``, with
    slashes or backslashes, as long as it fits one picture alone.

    Args:
        annotated_images: The annotations.
        images: Folder of the pictures.
        source: The annotation file, for faults.
        progress: Called with ``finding``, the number of annotations done and the total.

    Returns:
        The pictures, all faults, and remarks.
    """
    index = _Index(images)
    found: list[Picture] = []
    faults: list[Fault] = []
    turned: list[str] = []
    used: dict[str, AnnotatedImage] = {}
    for number, annotated in enumerate(annotated_images, 1):
        if progress:
            progress("finding", number, len(annotated_images))
        files = index.files(annotated)
        if not files:
            if annotated.frame == 0 and index.counts_from_one:
                text = "pictures count from 1, the frames of the annotation from 0: rename them"
                faults.append(Fault(file=images, text=text))
            elif annotated.frame is None or annotated.labels:
                text = "is annotated, but missing"
                faults.append(Fault(file=images / annotated.file_name, text=text))
            continue
        if len(files) > 1:
            text = f"{annotated.file_name} fits {len(files)} pictures: {listed(files, limit=4)}"
            faults.append(Fault(file=source, text=text))
            continue
        stem = files[0].relative_to(images).with_suffix("").as_posix()
        other = used.setdefault(stem, annotated)
        if other is not annotated:
            faults.append(Fault(file=source, text=_twice(other, annotated)))
            continue
        placed, fault = _fitted(annotated, files[0], turned)
        if placed is None:
            faults.append(fault)
        else:
            found.append(Picture(annotated=placed, file=files[0], stem=stem))
    notes = []
    if turned:
        notes.append(
            f"{len(turned)} pictures are turned by their EXIF orientation; they are annotated at "
            "the stored size, and the shapes are taken as drawn on the displayed picture: "
            f"{listed(turned)}"
        )
    return found, faults, notes


def _twice(first: AnnotatedImage, second: AnnotatedImage) -> str:
    one, two = (one.key or one.file_name for one in (first, second))
    if first.file_name == second.file_name:
        return f"{one} and {two} have the same file name, {first.file_name}"
    return (
        f"{one} ({first.file_name}) and {two} ({second.file_name}) would have the same mask: "
        "their names differ only in suffix or folder"
    )


class _Index:
    """The pictures of a folder by the parts of their names."""

    def __init__(self, images: Path) -> None:
        self._by_parts: dict[tuple[str, ...], list[Path]] = {}
        self._by_tail: dict[tuple[str, ...], list[Path]] = {}
        self._by_number: dict[int, list[Path]] = {}
        for file in list_images(images):
            relative = file.relative_to(images)
            for parts in (relative.parts, relative.with_suffix("").parts):
                self._by_parts.setdefault(parts, []).append(file)
                for start in range(1, len(parts)):
                    self._by_tail.setdefault(parts[start:], []).append(file)
            digits = re.findall(r"\d+", file.stem)
            if digits:
                self._by_number.setdefault(int(digits[-1]), []).append(file)

    @property
    def counts_from_one(self) -> bool:
        """Whether the smallest last number of the names is 1."""
        return min(self._by_number, default=0) == 1

    def files(self, annotated: AnnotatedImage) -> list[Path]:
        """The pictures that a name fits: with suffix before without, whole names before tails."""
        path = Path(annotated.file_name.replace("\\", "/"))
        if not path.name:
            return []
        for parts in (path.parts, path.with_suffix("").parts):
            if parts in self._by_parts:
                return self._by_parts[parts]
        for parts in (path.parts, path.with_suffix("").parts):
            for start in range(1, len(parts)):
                if parts[start:] in self._by_parts:
                    return self._by_parts[parts[start:]]
            if parts in self._by_tail:
                return self._by_tail[parts]
        if annotated.frame is not None:
            return self._by_number.get(annotated.frame, [])
        return []


def _fitted(
    annotated: AnnotatedImage, file: Path, turned: list[str]
) -> tuple[AnnotatedImage | None, Fault]:
    """The annotation at the size of its picture; ``None`` and a fault if the sizes differ."""
    size, sideways = _displayed_size(file)
    if annotated.size in (size, (0, 0)):
        return annotated.sized(size), Fault(file=file, text="")
    text = f"is {size[1]}x{size[0]}, its annotation is for {annotated.size[1]}x{annotated.size[0]}"
    if sideways and annotated.size == size[::-1]:
        extent = annotated.extent
        if not annotated.labels or (
            extent is not None and extent[2] <= size[1] + 1 and extent[3] <= size[0] + 1
        ):
            turned.append(file.name)
            return annotated.sized(size), Fault(file=file, text="")
        text += (
            "; its EXIF orientation turns it, and the shapes are those of the stored picture: "
            "store the picture upright and annotate that"
        )
    return None, Fault(file=file, text=text)


def _displayed_size(file: Path) -> tuple[tuple[int, int], bool]:
    """Height and width as displayed, and whether EXIF turns the picture sideways."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
            width, height = picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        image = read_image(file)  # Its error names what is wrong with the file.
        return (image.shape[0], image.shape[1]), False
    return ((width, height) if sideways else (height, width)), sideways
