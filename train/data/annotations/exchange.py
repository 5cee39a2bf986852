"""Writes the masks of a set for annotation tools, and makes a set of corrected labels.

export_labels(frames, Path("labels.json"), kind="coco")
import_labels(Path("labels.json"), Path("images"), Path("corrected"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from trocar.contract.bundle import check_output, replaced_folder, write_atomic
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError, OutputExistsError, SinkError
from trocar.contract.media.pictures import decode_image, read_bytes, write_picture
from trocar.train.data.annotations.coco import coco_from_images, images_from_coco
from trocar.train.data.annotations.cvat import cvat_from_images, images_from_cvat
from trocar.train.data.annotations.find import Picture, find_pictures
from trocar.train.data.annotations.labelme import images_from_labelme, labelme_from_image
from trocar.train.data.annotations.model import (
    MAX_INSTANCES,
    SPECIAL_LABELS,
    AnnotatedImage,
    Annotations,
    maps_of,
)
from trocar.train.data.annotations.regions import regions_of
from trocar.train.data.io.partial import PartialSet, content_digest, resumable_set
from trocar.train.data.sample import Fault, FrameSet

KINDS = ("coco", "coco-rle", "labelme", "cvat", "cvat-rle")
_SHOWN = 100


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
    skip_lines: bool = False,
    write_instances: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[str, ...]:
    """Makes an image-and-mask folder from annotations and their images.

    The masks of one image are drawn when they are written, so memory does not grow with the set.
    After an interruption the same call goes on: pictures whose content, classes and instances are
    as they were are not written again.

    Args:
        source: COCO JSON, CVAT XML, a LabelMe file, or a folder of LabelMe files.
        images: Folder of the images, which are found by name.
        out: Folder to make; it is written completely or not at all.
        table: Class table; default: background and the labels in the order of the file.
        skip_lines: Whether lines, which have no area, are left out; otherwise each is a fault.
        write_instances: Whether ``instances/`` is written, where each region of the annotation is
            one instance.
        progress: Called with the stage (``finding``, ``writing``), the number of images done and
            the total.

    Returns:
        Remarks on what was read in a way that the user should know.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: The annotation is malformed, an image is missing or of another size, two images
            have one name, or a label is not a class; all such faults at once.
        SinkError: It cannot be written.
    """
    check_output(out)
    annotations = read_annotations(source, skip_lines=skip_lines)
    if not annotations.images and not annotations.faults:
        raise DataError(
            f"{source} has no annotated image", remedy="export the task again, with its images"
        )
    no_classes = {"background", *SPECIAL_LABELS}
    names = list(dict.fromkeys(name for name in annotations.names if name not in no_classes))
    table = table or _table(names, source)
    ids = {**SPECIAL_LABELS, **{row.name: row.id for row in table}}
    found, faults, notes = find_pictures(
        annotations.images, images, source=source, progress=progress
    )
    labels = [_unknown_labels(annotated, ids, table, source) for annotated in annotations.images]
    every = [*annotations.faults, *faults, *(fault for each in labels for fault in each)]
    _refuse(source, every, lines=annotations.lines if not skip_lines else 0)
    instances, note = _instances(annotations.images) if write_instances else (False, ())
    state = {"labels": str(source.resolve()), "images": str(images.resolve())}
    with resumable_set(out, {**state, "instances": instances}) as made:
        for number, picture in enumerate(found, 1):
            _write_picture(picture, made, ids, instances)
            if progress:
                progress("writing", number, len(found))
        made.keep_only({picture.stem for picture in found})
        table.write(made.folder / "classes.toml")
    return (*annotations.notes, *notes, *note)


def _table(names: Sequence[str], source: Path) -> ClassTable:
    try:
        return ClassTable.from_names(["background", *names])
    except DataError as error:
        raise DataError(
            f"{source}: {error.message}", remedy="correct the labels, or pass --classes"
        ) from error


def _write_picture(
    picture: Picture, made: PartialSet, ids: Mapping[str, int], instances: bool
) -> None:
    """Writes one picture with its masks, unless an earlier call wrote the same."""
    data = read_bytes(picture.file)
    labels, numbers = maps_of(picture.annotated, ids)
    copy = made.folder / "images" / f"{picture.stem}{picture.file.suffix}"
    digest = content_digest([data, str(labels.shape), labels.tobytes(), numbers.tobytes()])
    if made.is_done(picture.stem, digest) and copy.is_file():
        return
    image = decode_image(data, source=str(picture.file))
    size = picture.annotated.size
    if image.shape[:2] != size:
        raise DataError(
            f"{picture.file} is {image.shape[1]}x{image.shape[0]}, its annotation is for "
            f"{size[1]}x{size[0]}",
            remedy="annotate the image at its own size",
        )
    write_picture(made.folder / "masks" / f"{picture.stem}.png", labels)
    if instances:
        write_picture(made.folder / "instances" / f"{picture.stem}.png", numbers)
    write_atomic(copy, data)
    made.mark(picture.stem, digest)


def _instances(annotated_images: Sequence[AnnotatedImage]) -> tuple[bool, tuple[str, ...]]:
    """Whether instance maps can be written, and a remark if they cannot."""
    if any(annotated.numbers is None for annotated in annotated_images):
        return False, ()
    most = max(annotated_images, key=lambda annotated: max(annotated.numbers or (0,)))
    count = max(most.numbers or (0,))
    if count > MAX_INSTANCES:
        return False, (
            f"{most.file_name} has {count} instances, instance maps hold {MAX_INSTANCES} at most: "
            "none is written",
        )
    return True, ()


def read_annotations(source: Path, *, skip_lines: bool = False) -> Annotations:
    """Reads annotations; the suffix and the content decide the format.

    Raises:
        DataError: It has another format or is malformed.
    """
    if source.is_dir():
        files = sorted(source.rglob("*.json"))
        if not files:
            raise DataError(f"{source} has no .json file", remedy="pass a folder of LabelMe files")
        return images_from_labelme(files, source, skip_lines=skip_lines)
    if source.suffix.lower() == ".xml":
        return images_from_cvat(source, skip_lines=skip_lines)
    text = read_bytes(source)
    if b'"shapes"' in text and b'"annotations"' not in text:
        return images_from_labelme([source], source.parent, skip_lines=skip_lines)
    return images_from_coco(source)


def _annotated_images(
    frames: FrameSet, progress: Callable[[int, int], None] | None
) -> Iterator[AnnotatedImage]:
    # A region of one class that is a part of an instrument is no instance.
    apart = frames.instances is not None and not any(row.part for row in frames.table)
    for number, item in enumerate(frames.items, 1):
        sample = frames.read(item)
        if sample.mask is not None:
            size = (sample.image.shape[0], sample.image.shape[1])
            found = regions_of(sample.mask, frames.instance_map(item, size) if apart else None)
            yield AnnotatedImage(
                file_name=f"{item.name}{item.image.suffix}",
                size=size,
                labels=tuple(frames.table[region.class_id].name for region in found),
                masks=tuple(region.mask for region in found),
                numbers=tuple(range(1, len(found) + 1)) if apart else None,
            )
        if progress:
            progress(number, len(frames))


def _unknown_labels(
    annotated: AnnotatedImage, ids: Mapping[str, int], table: ClassTable, source: Path
) -> list[Fault]:
    name = f"{annotated.file_name}{f' ({annotated.key})' if annotated.key else ''}"
    known = ", ".join(table.names)
    return [
        Fault(file=source, text=f"{name} has the label {label!r}; classes are {known}")
        for label in sorted(set(annotated.labels) - ids.keys())
    ]


def _refuse(source: Path, faults: Sequence[Fault], *, lines: int) -> None:
    """Raises one error with all faults."""
    if not faults:
        return
    shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
    more = f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    skip = "; --skip-lines leaves lines out" if lines else ""
    raise DataError(
        f"{source} cannot be imported: {count}{shown}{more}",
        remedy=f"correct the named annotations and pictures, then run the same command again{skip}",
    )
