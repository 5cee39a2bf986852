"""The classes of a classifier bundle as data beside its graph, which enrolment changes.

    store = ClassStore.from_bytes(bundle.read(state))
    store.names, store.inputs["centroids"]

A class comes from training or from enrolled photographs. The store has the features of both, from
which ``enroll.onnx`` computes all class tensors. ``inputs`` contains these tensors. They are inputs
of ``model.onnx`` whose defaults are the classes at export.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError
from trocar.contract.text.strict_json import parse_json

ENROLL = "enroll.onnx"
"""Graph of a bundle: ``features`` ``[S,F]`` and ``membership`` ``[S,K]`` to the class tensors."""


_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    RecursionError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True, kw_only=True)
class ClassStore:
    """Classes with their features and tensors.

    Attributes:
        names: In order of class id.
        trained: Whether each class came from training.
        features: ``[S,F]`` float32, one row per photograph; trained classes have one row each.
        owners: ``[S]`` int64 class id of each row.
        digests: ``[S]`` SHA-256 of each photograph; empty for rows from training.
        inputs: float32 tensors ``[K,…]`` by input name; the first dimension is the class.
        changed: Whether the tensors differ from the defaults in ``model.onnx``.
        previous: File of the classes before the last change; empty if there was no change.
        table: Rows of the class table, as `ClassTable.to_dicts` writes them, which guard the one in
            the manifest; empty for the classes at export.
    """

    names: tuple[str, ...]
    trained: tuple[bool, ...]
    features: NDArray[np.float32]
    owners: NDArray[np.int64]
    digests: tuple[str, ...]
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    changed: bool = False
    previous: str = ""
    table: tuple[Mapping[str, Any], ...] = ()

    def to_bytes(self) -> bytes:
        """An uncompressed ``.npz``; equal stores give equal bytes."""
        metadata: dict[str, Any] = {
            "names": self.names,
            "trained": self.trained,
            "digests": self.digests,
            "changed": self.changed,
            "previous": self.previous,
        }
        if self.table:
            metadata["classes"] = self.table
        text = json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode()
        arrays: dict[str, Any] = {
            "about": np.frombuffer(text, np.uint8),
            "features": self.features.astype("<f4"),
            "owners": self.owners.astype("<i8"),
        }
        for name in sorted(self.inputs):
            arrays[f"input_{name}"] = self.inputs[name].astype("<f4")
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    def file_name(self) -> str:
        """A file name that contains the hash of the content."""
        return f"classes-{hashlib.sha256(self.to_bytes()).hexdigest()[:16]}.npz"

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "classes") -> ClassStore:
        """Reads what `to_bytes` wrote; pickled objects are refused.

        Raises:
            BundleError: It is malformed.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            metadata = _checked_metadata(parse_json(arrays["about"].tobytes()))
            store = cls(
                names=tuple(metadata["names"]),
                trained=tuple(metadata["trained"]),
                features=arrays["features"].astype(np.float32),
                owners=arrays["owners"].astype(np.int64),
                digests=tuple(metadata["digests"]),
                inputs={
                    name.removeprefix("input_"): array.astype(np.float32)
                    for name, array in arrays.items()
                    if name.startswith("input_")
                },
                changed=metadata["changed"],
                previous=metadata["previous"],
                table=tuple(metadata.get("classes", ())),
            )
            faults = store._faults()
        except _MALFORMED as error:
            raise BundleError(
                f"{source} is malformed: {type(error).__name__} {error}",
                remedy="export the bundle again",
            ) from error
        if faults:
            raise BundleError(
                f"{source} is malformed: {'; '.join(faults)}", remedy="export the bundle again"
            )
        return store

    def _faults(self) -> list[str]:
        count, rows = len(self.names), len(self.features)
        faults = []
        if len(self.trained) != count or len(set(self.names)) != count:
            faults.append(f"{count} names, {len(self.trained)} origins, or names that repeat")
        if self.features.ndim != 2 or len(self.owners) != rows or len(self.digests) != rows:
            faults.append("features, owners and photographs differ in number")
        elif rows and not 0 <= self.owners.min() <= self.owners.max() < count:
            faults.append("a row belongs to no class")
        faults += [
            f"input {name} has {len(array)} classes, expected {count}"
            for name, array in self.inputs.items()
            if array.ndim < 1 or len(array) != count
        ]
        return faults


def _checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Checks the type of every member, as the C++ runtime does."""
    for name, kind in (("names", str), ("trained", bool), ("digests", str)):
        values = metadata[name]
        if not isinstance(values, list) or not all(isinstance(v, kind) for v in values):
            raise ValueError(f"{name} is not a list of {kind.__name__}")
    for name, kind in (("changed", bool), ("previous", str)):
        if not isinstance(metadata[name], kind):
            raise ValueError(f"{name} is not {kind.__name__}")
    rows = metadata.get("classes", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("classes is not a list of rows")
    return metadata
