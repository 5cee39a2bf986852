"""Writes the masks of a set for annotation tools, and makes a set of corrected labels.

export_labels(frames, Path("labels.json"), kind="coco")
import_labels(Path("labels.json"), Path("images"), Path("corrected"))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trocar.contract.bundle import check_output, replaced_folder, write_atomic
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError, OutputExistsError, SinkError
from trocar.contract.media.pictures import list_images, read_bytes, read_image, write_picture
from trocar.train.data.annotations.coco import coco_from_images, images_from_coco
from trocar.train.data.annotations.cvat import cvat_from_images, images_from_cvat
from trocar.train.data.annotations.regions import (
    AnnotatedImage,
    label_map_of,
    polygons_of,
    regions_of,
)
from trocar.train.data.readers.labelme import instances, read_annotation
from trocar.train.data.sample import Fault, FrameSet, raise_faults

KINDS = ("coco", "coco-rle", "labelme", "cvat", "cvat-rle")


def export_labels(
    frames: FrameSet,
    out: Path,
    *,
    kind: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the masks of a set for an annotation tool.

    Args:
        frames: The set.
        out: File to write; for LabelMe a folder with one file per image.
        kind: One of `KINDS`.
        progress: Called with the number of frames done and the total.

    Raises:
        OutputExistsError: ``out`` exists.
        ConfigError: The kind is unknown.
        DataError: A frame cannot be read.
        SinkError: It cannot be written.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"{kind!r} is not an annotation format", remedy=f"choose one of {', '.join(KINDS)}"
        )
    names = frames.table.names[1:]
    annotated_images = _annotated_images(frames, progress)
    if kind == "labelme":
        check_output(out)
        with replaced_folder(out) as folder:
            for annotated in annotated_images:
                file = folder / Path(annotated.file_name).with_suffix(".json")
                write_atomic(file, labelme_from_image(annotated).encode())
        return
    if out.exists():
        raise OutputExistsError(f"{out} exists already", remedy="choose another name")
    write = cvat_from_images if kind.startswith("cvat") else coco_from_images
    text = write(annotated_images, names, rle=kind.endswith("-rle"))
    try:
        write_atomic(out, text.encode())
    except OSError as error:
        raise SinkError(f"cannot write {out}: {error}", remedy="free space") from error


def import_labels(
    source: Path,
    images: Path,
    out: Path,
    *,
    table: ClassTable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Makes an image-and-mask folder from annotations and their images.

    Args:
        source: COCO JSON, CVAT XML, a LabelMe file, or a folder of LabelMe files.
        images: Folder of the images, which are found by name.
        out: Folder to make; it is written completely or not at all.
        table: Class table; default: background and the labels in the order of the file.
        progress: Called with the number of images done and the total.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: The annotation is malformed, an image is missing or of another size, or a label
            is not a class; all such faults at once.
        SinkError: It cannot be written.
    """
    check_output(out)
    annotated_images, names = read_annotations(source)
    table = table or ClassTable.from_names(["background", *names])
    ids = {row.name: row.id for row in table}
    found, faults = _files(annotated_images, images, ids, source)
    raise_faults(source, faults)
    with replaced_folder(out) as folder:
        for number, (annotated, file) in enumerate(zip(annotated_images, found, strict=True), 1):
            image = read_image(file)
            if image.shape[:2] != annotated.size:
                raise DataError(
                    f"{file} is {image.shape[1]}x{image.shape[0]}, its annotation is for "
                    f"{annotated.size[1]}x{annotated.size[0]}",
                    remedy="annotate the image at its own size",
                )
            stem = Path(annotated.file_name).with_suffix("")
            write_picture(folder / "masks" / f"{stem}.png", label_map_of(annotated, ids))
            write_atomic(folder / "images" / f"{stem}{file.suffix}", read_bytes(file))
            if progress:
                progress(number, len(annotated_images))
        table.write(folder / "classes.toml")


def read_annotations(source: Path) -> tuple[list[AnnotatedImage], list[str]]:
    """Reads annotations; the suffix and the content decide the format.

    Raises:
        DataError: It has another format or is malformed.
    """
    if source.is_dir():
        files = sorted(source.rglob("*.json"))
        if not files:
            raise DataError(f"{source} has no .json file", remedy="pass a folder of LabelMe files")
        return _labelme(files, source)
    if source.suffix.lower() == ".xml":
        return images_from_cvat(source)
    text = read_bytes(source)
    if b'"shapes"' in text and b'"annotations"' not in text:
        return _labelme([source], source.parent)
    return images_from_coco(source)


def labelme_from_image(annotated: AnnotatedImage) -> str:
    """LabelMe JSON text; the polygons of one region have the same ``group_id``."""
    shapes = [
        {
            "label": label,
            "points": [[float(x), float(y)] for x, y in polygon],
            "group_id": number,
            "shape_type": "polygon",
            "flags": {},
        }
        for number, (label, mask) in enumerate(zip(annotated.labels, annotated.masks, strict=True))
        for polygon in polygons_of(mask)
    ]
    data: dict[str, Any] = {
        "version": "5.0.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": annotated.file_name,
        "imageData": None,
        "imageHeight": annotated.size[0],
        "imageWidth": annotated.size[1],
    }
    return json.dumps(data)


def _annotated_images(
    frames: FrameSet, progress: Callable[[int, int], None] | None
) -> Iterator[AnnotatedImage]:
    for number, item in enumerate(frames.items, 1):
        sample = frames.read(item)
        if sample.mask is not None:
            found = regions_of(sample.mask)
            yield AnnotatedImage(
                file_name=f"{item.name}{item.image.suffix}",
                size=(sample.image.shape[0], sample.image.shape[1]),
                labels=tuple(frames.table[region.class_id].name for region in found),
                masks=tuple(region.mask for region in found),
            )
        if progress:
            progress(number, len(frames))


def _labelme(files: list[Path], root: Path) -> tuple[list[AnnotatedImage], list[str]]:
    annotated_images = []
    names: dict[str, None] = {}
    for file in files:
        annotation = read_annotation(file)
        found = instances(annotation)
        names.update(dict.fromkeys(label for label, _ in found))
        # LabelMe's path is relative to its own file; here the image is found by its name.
        suffix = Path(annotation.image).suffix or ".png"
        annotated_images.append(
            AnnotatedImage(
                file_name=file.relative_to(root).with_suffix(suffix).as_posix(),
                size=annotation.size,
                labels=tuple(label for label, _ in found),
                masks=tuple(mask for _, mask in found),
            )
        )
    return annotated_images, list(names)


def _files(
    annotated_images: list[AnnotatedImage], images: Path, ids: dict[str, int], source: Path
) -> tuple[list[Path], list[Fault]]:
    by_stem = {f.relative_to(images).with_suffix("").as_posix(): f for f in list_images(images)}
    found: list[Path] = []
    faults: list[Fault] = []
    for annotated in annotated_images:
        stem = Path(annotated.file_name).with_suffix("").as_posix()
        file = by_stem.get(stem)
        if file is None or ".." in Path(stem).parts or Path(stem).is_absolute():
            faults.append(
                Fault(file=images / annotated.file_name, text="is annotated, but missing")
            )
        else:
            found.append(file)
        for label in sorted(set(annotated.labels) - ids.keys()):
            text = f"{annotated.file_name} has the label {label!r}; classes are {', '.join(ids)}"
            faults.append(Fault(file=source, text=text))
    return found, faults
