"""Photographs, names, tensors and tables of enrolled classes.

images, digests = read_photos([Path("a.jpg"), Path("b.jpg")])
"""

from __future__ import annotations

import hashlib
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import Bundle
from trocar.contract.class_store import ENROLL, ClassStore
from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image

UNKNOWN = "unknown"
"""Reserved name: a classifier's result below its threshold."""

Floats = NDArray[np.float32]


def normalised_name(name: str) -> str:
    """A class name in Unicode form NFC, with single spaces.

    Raises:
        DataError: It is empty, longer than 80 characters, not printable, or reserved.
    """
    text = " ".join(unicodedata.normalize("NFC", name).split())
    if not text or len(text) > 80 or not text.isprintable() or text.casefold() == UNKNOWN:
        raise DataError(
            f"{name!r} is not a class name, expected 1 to 80 printable characters other than "
            f"{UNKNOWN!r}",
            remedy="choose another name",
        )
    if name != name.strip() or any(unicodedata.category(c).startswith("C") for c in name):
        raise DataError(
            f"{name!r} begins or ends with a space, or contains control characters",
            remedy=f"did you mean {text!r}?",
        )
    return text


class EnrollGraph:
    """``enroll.onnx`` of a bundle: computes the class tensors from features and membership.

    Raises:
        BundleError: The bundle has no such graph, or ONNX Runtime cannot load it.
    """

    def __init__(self, bundle: Bundle) -> None:
        from trocar.runtime.backends.onnxruntime import cpu_session

        self._session = cpu_session(bundle.read(ENROLL), source=str(bundle.path / ENROLL))
        self._outputs = [output.name for output in self._session.get_outputs()]

    def class_tensors(self, store: ClassStore, *, left_out: int | None = None) -> dict[str, Floats]:
        """Computes the class tensors, without the row ``left_out`` if it is given."""
        membership = np.zeros((len(store.owners), len(store.names)), np.float32)
        membership[np.arange(len(store.owners)), store.owners] = 1
        if left_out is not None:
            membership[left_out] = 0
        values = self._session.run(
            self._outputs, {"features": store.features, "membership": membership}
        )
        return dict(zip(self._outputs, values, strict=True))

    def recompute(self, store: ClassStore, before: ClassStore) -> ClassStore:
        """The store with all class tensors computed.

        Tensors that the graph does not compute, e.g. the rows of a linear head, are taken from
        ``before`` for trained classes and are 0 for enrolled ones.
        """
        tensors: dict[str, Floats] = self.class_tensors(store)
        for name, array in before.inputs.items():
            if name not in tensors:
                rows = [
                    _trained_row(array, before, class_name) if is_trained else None
                    for class_name, is_trained in zip(store.names, store.trained, strict=True)
                ]
                zero = np.zeros_like(array[0])
                tensors[name] = np.stack([zero if row is None else row for row in rows])
        return replace(store, inputs=tensors, changed=True)


def _trained_row(array: Floats, store: ClassStore, name: str) -> Floats | None:
    """A trained class's row of a tensor; ``None`` if the store has no such trained class."""
    if name not in store.names:
        return None
    index = store.names.index(name)
    row: Floats = array[index]
    return row if store.trained[index] else None


def read_photos(
    photos: Sequence[Path | NDArray[np.uint8]],
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Reads photographs, ordered by the SHA-256 of their pixels.

    Args:
        photos: Image files, or ``[H, W, 3]`` uint8 RGB images.

    Returns:
        Images ``[H, W, 3]`` uint8 RGB, and their SHA-256.

    Raises:
        DataError: There is no photograph, one is given twice, or one cannot be read.
    """
    if not photos:
        raise DataError("no photographs were given", remedy="name one or more image files")
    images: dict[str, NDArray[np.uint8]] = {}
    sources: dict[str, str] = {}
    for number, photo in enumerate(photos):
        image = photo if isinstance(photo, np.ndarray) else read_image(Path(photo))
        source = f"image {number}" if isinstance(photo, np.ndarray) else str(photo)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise DataError(
                f"{source} is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3]",
                remedy="pass RGB images",
            )
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        if digest in images:
            raise DataError(
                f"{sources[digest]} and {source} are the same photograph",
                remedy="pass each photograph once",
            )
        images[digest], sources[digest] = np.ascontiguousarray(image), source
    order = sorted(images)
    return [images[digest] for digest in order], order


def find_class(name: str, names: Sequence[str]) -> int | None:
    """Index of the class of that name, without regard to case, width or spaces; else ``None``."""

    def folded(text: str) -> str:
        return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

    for index, other in enumerate(names):
        if folded(other) == folded(name):
            return index
    return None


def without_class(store: ClassStore, index: int) -> ClassStore:
    """The store without one class and without tensors; see `EnrollGraph.recompute`."""
    is_kept = store.owners != index
    owners = store.owners[is_kept]
    return replace(
        store,
        names=tuple(n for i, n in enumerate(store.names) if i != index),
        trained=tuple(t for i, t in enumerate(store.trained) if i != index),
        features=store.features[is_kept],
        owners=np.where(owners > index, owners - 1, owners),
        digests=tuple(d for d, kept in zip(store.digests, is_kept, strict=True) if kept),
        inputs={},
    )


def with_class(
    store: ClassStore,
    name: str,
    *,
    replaced: int | None,
    features: Floats,
    digests: Sequence[str],
) -> ClassStore:
    """The store with an enrolled class and without tensors; see `EnrollGraph.recompute`.

    Trained classes come first, in order of training. Enrolled classes follow in order of name.

    Args:
        store: The classes so far.
        name: The class.
        replaced: Index of the class that it replaces; ``None`` for a new one.
        features: ``[N, F]`` of its photographs.
        digests: ``[N]`` SHA-256 of its photographs.
    """
    base = store if replaced is None else without_class(store, replaced)
    names, trained = [*base.names, name], [*base.trained, False]

    def trained_first(index: int) -> tuple[bool, int, str]:
        return not trained[index], index if trained[index] else 0, names[index]

    order = sorted(range(len(names)), key=trained_first)
    rank = {old: new for new, old in enumerate(order)}
    owners = np.array([*base.owners.tolist(), *[len(names) - 1] * len(features)], np.int64)
    owners = np.array([rank[owner] for owner in owners.tolist()], np.int64)
    rows = np.concatenate([base.features, features])
    all_digests = [*base.digests, *digests]

    def by_class_then_digest(row: int) -> tuple[int, str, int]:
        # Rows from training have empty digests, so they keep their order.
        return int(owners[row]), all_digests[row], row

    sequence = sorted(range(len(rows)), key=by_class_then_digest)
    return replace(
        base,
        names=tuple(names[i] for i in order),
        trained=tuple(trained[i] for i in order),
        features=rows[sequence],
        owners=owners[sequence],
        digests=tuple(all_digests[i] for i in sequence),
        inputs={},
    )


def class_table(names: Sequence[str], before: ClassTable) -> ClassTable:
    """A class table of these names; classes of the table ``before`` keep their rows.

    The colour of a new class depends on its name only, not on the order of enrolment.
    """
    known = {row.name: row for row in before}
    rows = []
    for index, name in enumerate(names):
        colour = default_colour(1 + zlib.crc32(name.encode()) % 12)
        row = ClassRow(id=index, name=name, colour=colour, instrument=True)
        rows.append(replace(known.get(name, row), id=index))
    return ClassTable(tuple(rows))
