"""Photographs, names and tables of classes that are enrolled; see `trocar.runtime.enrolment.enroll`.

images, digests = read_photos([Path("a.jpg"), Path("b.jpg")])
"""

from __future__ import annotations

import hashlib
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import Bundle
from trocar.contract.class_store import ENROLL, ClassStore
from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import BundleError, DataError

UNKNOWN = "unknown"
"""What nothing may be called: it is what a classifier says when it does not know."""

Floats = NDArray[np.float32]


def checked_name(name: str) -> str:
    """A class name in its usual form.

    Raises:
        DataError: Empty, too long, unprintable, or reserved.
    """
    text = " ".join(unicodedata.normalize("NFC", name).split())
    if not text or len(text) > 80 or not text.isprintable() or text.casefold() == UNKNOWN:
        raise DataError(
            f"{name!r} is no class name: 1 to 80 printable characters are wanted, and not "
            f"{UNKNOWN!r}",
            remedy="choose another name",
        )
    if name != name.strip() or any(unicodedata.category(c).startswith("C") for c in name):
        raise DataError(
            f"{name!r} begins or ends with a blank, or holds control characters",
            remedy=f"did you mean {text!r}?",
        )
    return text


class Enroller:
    """``enroll.onnx``: features and membership to class tensors."""

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        try:
            self.session: Any = onnxruntime.InferenceSession(
                bundle.read(ENROLL), options, providers=["CPUExecutionProvider"]
            )
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(
                f"{bundle.path / ENROLL} cannot be loaded: {str(error).splitlines()[0]}",
                remedy="export the bundle again",
            ) from error
        self.outputs = [output.name for output in self.session.get_outputs()]

    def tensors(self, store: ClassStore, *, left_out: int | None = None) -> dict[str, Floats]:
        """The class tensors, as if one row had not been there."""
        membership = np.zeros((len(store.owners), len(store.names)), np.float32)
        membership[np.arange(len(store.owners)), store.owners] = 1
        if left_out is not None:
            membership[left_out] = 0
        values = self.session.run(
            self.outputs, {"features": store.features, "membership": membership}
        )
        return dict(zip(self.outputs, values, strict=True))

    def renew(self, store: ClassStore, before: ClassStore) -> ClassStore:
        """Computes all tensors anew; those that the graph does not make follow the classes."""
        made: dict[str, Floats] = self.tensors(store)
        for name, array in before.inputs.items():
            if name not in made:
                # E.g. the linear head's rows: a class that was enrolled has none.
                rows = [
                    array[before.names.index(n)]
                    if trained and n in before.names and before.trained[before.names.index(n)]
                    else np.zeros_like(array[0])
                    for n, trained in zip(store.names, store.trained, strict=True)
                ]
                made[name] = np.stack(rows)
        return replace(store, inputs=made, changed=True)


def read_photos(
    photos: Sequence[Path | NDArray[np.uint8]],
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Decoded photographs in the order of the hashes of their pixels."""
    if not photos:
        raise DataError("no photographs were given", remedy="name one or more picture files")
    found: dict[str, NDArray[np.uint8]] = {}
    names: dict[str, str] = {}
    for number, photo in enumerate(photos):
        image = photo if isinstance(photo, np.ndarray) else read_photo(Path(photo))
        shown = f"picture {number}" if isinstance(photo, np.ndarray) else str(photo)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise DataError(
                f"{shown} is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3]",
                remedy="give RGB pictures",
            )
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        if digest in found:
            raise DataError(
                f"{names[digest]} and {shown} are the same photograph",
                remedy="give each once: a copy adds nothing",
            )
        found[digest], names[digest] = np.ascontiguousarray(image), shown
    order = sorted(found)
    return [found[digest] for digest in order], order


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Decodes a picture file: ``[H, W, 3]`` uint8 RGB.

    Raises:
        DataError: It is missing, truncated or no picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}", remedy="check the path"
        ) from error
    # Decoders fill what is missing of a truncated JPEG with grey and say nothing.
    cut = data[:3] == b"\xff\xd8\xff" and b"\xff\xd9" not in data[-4096:]
    decoded = None
    if data and not cut:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        what = "is truncated" if cut else "is no picture"
        raise DataError(
            f"{path} {what} ({len(data)} bytes)", remedy="copy it again, or leave it out"
        )
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def find_class(name: str, names: Sequence[str]) -> int | None:
    """Place of a class whose name reads alike; ``None`` where there is none."""

    def folded(text: str) -> str:
        return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

    for place, other in enumerate(names):
        if folded(other) == folded(name):
            return place
    return None


def without_class(store: ClassStore, place: int) -> ClassStore:
    """The store without one class; its tensors are still to be computed."""
    rows = store.owners != place
    owners = store.owners[rows]
    return replace(
        store,
        names=tuple(n for i, n in enumerate(store.names) if i != place),
        trained=tuple(t for i, t in enumerate(store.trained) if i != place),
        features=store.features[rows],
        owners=np.where(owners > place, owners - 1, owners),
        digests=tuple(d for d, keep in zip(store.digests, rows, strict=True) if keep),
        inputs={},
    )


def with_class(
    store: ClassStore, name: str, place: int | None, features: Floats, digests: Sequence[str]
) -> ClassStore:
    """The store with the class in its place: trained ones first, then by name."""
    base = store if place is None else without_class(store, place)
    names, trained = [*base.names, name], [*base.trained, False]
    order = sorted(
        range(len(names)), key=lambda i: (not trained[i], i if trained[i] else 0, names[i])
    )
    rank = {old: new for new, old in enumerate(order)}
    owners = np.array([*base.owners.tolist(), *[len(names) - 1] * len(features)], np.int64)
    owners = np.array([rank[owner] for owner in owners.tolist()], np.int64)
    rows = np.concatenate([base.features, features])
    whole = [*base.digests, *digests]
    # Rows from training keep their order; photographs stand in the order of their hashes.
    sequence = sorted(range(len(whole)), key=lambda i: (owners[i], whole[i], i))
    return replace(
        base,
        names=tuple(names[i] for i in order),
        trained=tuple(trained[i] for i in order),
        features=rows[sequence],
        owners=owners[sequence],
        digests=tuple(whole[i] for i in sequence),
        inputs={},
    )


def class_table(names: Sequence[str], before: ClassTable) -> ClassTable:
    """A class table of these names; classes that were there keep their colours.

    A new class's colour follows from its name alone, whatever the order of enrolment.
    """
    known = {row.name: row for row in before}
    rows = []
    for index, name in enumerate(names):
        colour = default_colour(1 + zlib.crc32(name.encode()) % 12)
        row = ClassRow(id=index, name=name, colour=colour, instrument=True)
        rows.append(replace(known.get(name, row), id=index))
    return ClassTable(tuple(rows))
