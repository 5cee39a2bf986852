"""Records which frames a model was trained on, so that it is not scored on them.

    source = {"trained_on": fingerprint([train])}         # written to checkpoint and bundle
    unseen = unseen_frames(test, source["trained_on"])

Photographs of classifiers are recorded alike: the crops of one image as this one image.

The record holds short digests instead of names: bundles are passed on, and file names may identify
patients. A frame has two: one of its name in its set and the size of its file, and one of the
file's content, which knows the frame under another name. A frame that was converted to another
format counts as another frame. Frames within videos are known by name alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trocar.contract.media.pictures import IMAGE_SUFFIXES
from trocar.train.data.classification.sample import Photo, PhotoSet
from trocar.train.data.io.archives import read_member
from trocar.train.data.sample import Fault, FrameSet, Item

_BYTES = 5  # with 10 000 training frames, one new frame in 50 million matches by chance
_ENDS = 1 << 16
_UNCOMPRESSED = (".bmp", ".tif", ".tiff")


def fingerprint(sets: Iterable[FrameSet | PhotoSet]) -> str:
    """Digests of the frames of several sets, as text: about thirteen characters for each frame."""
    digests = {digest for frames in sets for item in frames for digest in _digests(item)}
    return base64.b85encode(b"".join(sorted(digests))).decode()


def merged(fingerprints: Iterable[str]) -> str:
    """One record of the frames of several, e.g. of a run and of the run that it started from."""
    digests = set().union(*(_digests_in(one) for one in fingerprints))
    return base64.b85encode(b"".join(sorted(digests))).decode()


def _digests_in(trained_on: str) -> set[bytes]:
    data = base64.b85decode(trained_on)
    return {data[i : i + _BYTES] for i in range(0, len(data), _BYTES)}


def changed_frames(
    sets: Iterable[FrameSet | PhotoSet], trained_on: str, *, earlier: str = ""
) -> tuple[int, int]:
    """How many frames a record does not know, and how many of its digests no frame has.

    Args:
        sets: The sets that are trained on now.
        trained_on: What `fingerprint` returned for those of before, by this release or an older
            one, whose records know frames by name alone.
        earlier: Record within ``trained_on`` of the run that the run started from.
    """
    known = _digests_in(trained_on)
    found: set[bytes] = set()
    added = 0
    for frames in sets:
        for item in frames:
            digests = set(_digests(item))
            found |= digests
            added += not digests & known
    return added, len(known - found - _digests_in(earlier))


def unseen_frames(frames: FrameSet, trained_on: str) -> FrameSet:
    """The frames that a model was not trained on, without the other frames of their groups.

    Args:
        frames: A set. Of a frame without group, only the frame itself is left out.
        trained_on: What `fingerprint` returned; empty where it is not known.
    """
    known = _digests_in(trained_on)
    seen = {
        item.name: item.group
        for item in frames
        if known and any(digest in known for digest in _digests(item))
    }
    groups = {group for group in seen.values() if group}
    return frames.only(
        item.name for item in frames if item.name not in seen and item.group not in groups
    )


def unseen_photos(photos: PhotoSet, trained_on: str) -> PhotoSet:
    """The photographs that a classifier was not trained on, without others of their images.

    Args:
        photos: A set. Where its groups are videos or patients, the other photographs of a group
            that was trained on are left out too, see `PhotoSet.units`.
        trained_on: What `fingerprint` returned; empty where it is not known.
    """
    known = _digests_in(trained_on)
    if not known:
        return photos
    units = photos.units
    seen = {
        unit
        for item, unit in zip(photos, units, strict=True)
        if any(digest in known for digest in _digests(item))
    }
    return photos.only(
        item.name for item, unit in zip(photos, units, strict=True) if unit not in seen
    )


def equal_pictures(frames: FrameSet) -> tuple[list[Fault], int]:
    """Pictures of different splits that are equal, byte for byte, under different names.

    Only files of equal size are read.

    Returns:
        A fault for each such picture, and the number of other pictures that are equal to an
        earlier one.
    """
    split_of = {name: split for split, names in frames.splits.items() for name in names}
    faults: list[Fault] = []
    others = 0
    for other, *equals in _equal_items(frames):
        for item in equals:
            if other.image.resolve() == item.image.resolve():
                continue
            here, there = split_of.get(item.name), split_of.get(other.name)
            if here and there and here != there:
                text = (
                    f"leakage: is of split {here!r} and equal, byte for byte, to {other.image} of "
                    f"split {there!r}"
                )
                faults.append(Fault(file=item.image, text=text))
            else:
                others += 1
    return faults, others


def shared_pictures(first: FrameSet, second: FrameSet) -> list[tuple[Item, Item]]:
    """Frames of two sets whose pictures are equal, byte for byte, or are one file.

    Frames within videos are compared by their file alone.

    Returns:
        Each such frame of ``first``, with one of ``second``.
    """
    files = {item.image.resolve(): item for item in second}
    known = {id(item) for item in second}
    twin = {}
    for items in _equal_items((*first, *second)):
        theirs = next((item for item in items if id(item) in known), None)
        if theirs is not None:
            twin.update({id(item): theirs for item in items if id(item) not in known})
    pairs = [(item, twin.get(id(item)) or files.get(item.image.resolve())) for item in first]
    return [(item, other) for item, other in pairs if other is not None]


def joined_groups(frames: FrameSet) -> dict[str, str]:
    """The groups that hold equal pictures, joined: a name that is equal for such groups.

    A video that lies in a set twice, under two names, is one group so.
    """
    joined = {group: group for group in ("", *frames.groups)}
    for first, *equals in _equal_items(frames):
        for item in equals:
            keep, change = joined[first.group], joined[item.group]
            joined = {group: keep if to == change else to for group, to in joined.items()}
    return joined


def _equal_items(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Lists of frames with equal pictures; only files of equal size are read."""
    by_size: dict[int, list[Item]] = {}
    for path, item in {item.image: item for item in items if _is_picture(item)}.items():
        by_size.setdefault(path.stat().st_size, []).append(item)
    for found in by_size.values():
        by_content: dict[bytes, list[Item]] = {}
        for item in found if len(found) > 1 else ():
            by_content.setdefault(_content(item.image), []).append(item)
        yield from (equal for equal in by_content.values() if len(equal) > 1)


def _is_picture(item: Item) -> bool:
    return item.image.suffix.lower() in IMAGE_SUFFIXES and item.image.is_file()


def _digests(item: Item | Photo) -> Iterator[bytes]:
    """The digest of a frame's name and size, then that of its content."""
    if isinstance(item, Photo):
        yield from _photo_digests(item)
        return
    size = item.image.stat().st_size if item.image.is_file() else 0
    yield _named(item.name, size)
    if size and _is_picture(item):
        yield _content(item.image)[:_BYTES]


def _photo_digests(photo: Photo) -> Iterator[bytes]:
    """The same of the image that a photograph is, or was cut from."""
    name = photo.name if photo.box is None else photo.name.rpartition("#")[0] or photo.name
    if photo.member:
        data = read_member(photo.file, photo.member)
        yield _named(name, len(data))
        yield hashlib.blake2b(data, digest_size=_BYTES).digest()
        return
    yield _named(name, photo.file.stat().st_size)
    if photo.file.suffix.lower() in IMAGE_SUFFIXES:
        yield _content(photo.file)[:_BYTES]


def _named(name: str, size: int) -> bytes:
    return hashlib.blake2b(f"{name}\0{size}".encode(), digest_size=_BYTES).digest()


def _content(path: Path) -> bytes:
    """A digest of a picture's content.

    Of a compressed picture it covers the size, the beginning and the end: a difference anywhere
    changes the size or the checksums at the end of a PNG, and shifts the data of a JPEG.
    """
    made = hashlib.blake2b()
    size = path.stat().st_size
    made.update(str(size).encode())
    with path.open("rb") as file:
        if size <= 2 * _ENDS or path.suffix.lower() in _UNCOMPRESSED:
            while block := file.read(1 << 20):
                made.update(block)
        else:
            made.update(file.read(_ENDS))
            file.seek(-_ENDS, os.SEEK_END)
            made.update(file.read())
    return made.digest()
