"""Masks that a pattern in ``dataset.toml`` names: ``masks = "{stem}_mask.png"``.

    pattern = MaskPattern.parse("labels/{stem}_seg.png", file=Path("dataset.toml"))
    pattern.mask_of(Path("images/op1/0001.jpg"), images=Path("images"), root=Path("."))

``{stem}`` is the name of a picture without suffix, ``{folder}`` its folder below the folder of the
pictures. A pattern without a slash is a file beside the picture; others start at the set's folder.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, list_images
from trocar.train.data.sample import Fault

_PHANTOM = ("types", "parts")  # What the masks of a phantom distinguish, under the same key.
FIELDS = ("stem", "folder")
_REMEDY = 'write masks = "{stem}_mask.png" or masks = "labels/{folder}/{stem}.png"'


@dataclass(frozen=True)
class MaskPattern:
    """A checked pattern.

    Attributes:
        text: As written.
    """

    text: str

    @classmethod
    def parse(cls, value: object, *, file: Path) -> MaskPattern:
        """Checks a pattern.

        Args:
            value: What ``masks`` of a ``dataset.toml`` holds.
            file: That file, for errors.

        Raises:
            DataError: It is no text, names no picture, has other placeholders, leads out of the
                set, or has no suffix of a picture.
        """
        fault = _fault(value)
        if fault:
            raise DataError(f"{file}: masks is {value!r}: {fault}", remedy=_REMEDY)
        return cls(str(value))

    def mask_of(self, image: Path, *, images: Path, root: Path) -> Path:
        """The file that the pattern names for a picture; it need not exist."""
        folder = image.parent.relative_to(images).as_posix() if image.parent != images else "."
        named = self.text.format(stem=image.stem, folder=folder)
        return (image.parent if "/" not in self.text else root) / Path(named)


def pattern_in(settings: Mapping[str, Any], *, file: Path) -> MaskPattern | None:
    """The pattern of a ``dataset.toml``; ``None`` if there is none.

    Raises:
        DataError: See `MaskPattern.parse`.
    """
    value = settings.get("masks")
    return None if value is None or value in _PHANTOM else MaskPattern.parse(value, file=file)


def pairs(
    pattern: MaskPattern, images: Path, root: Path, faults: list[Fault]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Pictures and masks by name; pictures without a mask are faults.

    Files that are the mask of another picture are no pictures.

    Args:
        pattern: The pattern.
        images: Folder of the pictures.
        root: Folder of the set.
        faults: Faults are added here.
    """
    files = list_images(images)
    named = {file: pattern.mask_of(file, images=images, root=root) for file in files}
    masks = {named[file] for file in files if named[file].is_file() and named[file] != file}
    image_of: dict[str, Path] = {}
    mask_of: dict[str, Path] = {}
    user: dict[Path, Path] = {}
    for file in files:
        if file in masks:
            continue
        name = file.relative_to(images).with_suffix("").as_posix()
        mask = named[file]
        if name in image_of:
            faults.append(Fault(file=file, text=f"has the same name as {image_of[name].name}"))
        elif not mask.is_file():
            where = mask.relative_to(root) if mask.is_relative_to(root) else mask
            faults.append(
                Fault(file=file, text=f"has no mask {where.as_posix()}, which dataset.toml names")
            )
        elif user.setdefault(mask, file) != file:
            faults.append(Fault(file=file, text=f"has the same mask as {user[mask].name}"))
        else:
            image_of[name], mask_of[name] = file, mask
    return image_of, mask_of


def _fault(value: object) -> str:
    if not isinstance(value, str):
        return "expected a text"
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError as error:
        return str(error)
    fields = [(field, spec, kind) for _, field, spec, kind in parts if field is not None]
    odd = [field for field, spec, kind in fields if field not in FIELDS or spec or kind]
    path = PurePosixPath(value)
    if odd:
        return f"placeholders are {{stem}} and {{folder}}, not {{{odd[0]}}}"
    if "stem" not in [field for field, _, _ in fields]:
        return "without {stem} all pictures would have one mask"
    if path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
        return "expected a path below the folder of the set, with slashes"
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"expected a suffix of a picture ({', '.join(IMAGE_SUFFIXES)})"
    return ""
