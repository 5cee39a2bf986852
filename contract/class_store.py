"""The classes of a classifier bundle as data beside its graph: what enrolment changes.

    store = ClassStore.from_bytes(bundle.read(about["state"]))
    store.names, store.inputs["centroids"]

A class came from training or from photographs that were enrolled; of both, the features are kept
from which ``enroll.onnx`` computes every class tensor anew. ``inputs`` holds those tensors: inputs
of ``model.onnx`` whose defaults are the classes it was exported with.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError

ENROLL = "enroll.onnx"
"""Graph of a bundle: ``features`` ``[S,F]`` and ``membership`` ``[S,K]`` to the class tensors."""


@dataclass(frozen=True, kw_only=True)
class ClassStore:
    """Classes and what they were made from.

    Attributes:
        names: In order of class id.
        trained: Whether each class came from training.
        features: ``[S,F]`` float32, one row a photograph (a stand-in for a trained class).
        owners: ``[S]`` int64, class id of each row.
        digests: ``[S]`` SHA-256 of each photograph; empty for rows from training.
        inputs: Tensors of all classes by input name, float32, the class first.
        changed: Whether they differ from the defaults in ``model.onnx``.
        previous: File of the classes before the last change; empty where there was none.
    """

    names: tuple[str, ...]
    trained: tuple[bool, ...]
    features: NDArray[np.float32]
    owners: NDArray[np.int64]
    digests: tuple[str, ...]
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    changed: bool = False
    previous: str = ""

    def to_bytes(self) -> bytes:
        """An uncompressed ``.npz``; equal stores give equal bytes."""
        about = {
            "names": self.names,
            "trained": self.trained,
            "digests": self.digests,
            "changed": self.changed,
            "previous": self.previous,
        }
        text = json.dumps(about, sort_keys=True, ensure_ascii=False).encode()
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
        """A name that belongs to this content alone."""
        return f"classes-{hashlib.sha256(self.to_bytes()).hexdigest()[:16]}.npz"

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "classes") -> ClassStore:
        """Reads `to_bytes`; nothing in it is executed.

        Raises:
            BundleError: It is malformed.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = _checked_about(json.loads(arrays["about"].tobytes()))
            store = cls(
                names=tuple(about["names"]),
                trained=tuple(about["trained"]),
                features=arrays["features"].astype(np.float32),
                owners=arrays["owners"].astype(np.int64),
                digests=tuple(about["digests"]),
                inputs={
                    name.removeprefix("input_"): array.astype(np.float32)
                    for name, array in arrays.items()
                    if name.startswith("input_")
                },
                changed=about["changed"],
                previous=about["previous"],
            )
            faults = store._faults()
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
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


def _checked_about(about: dict[str, Any]) -> dict[str, Any]:
    """The text beside the arrays, every member of its type: as strict as libtrocar reads it."""
    for name, kind in (("names", str), ("trained", bool), ("digests", str)):
        if not isinstance(about[name], list) or not all(isinstance(v, kind) for v in about[name]):
            raise ValueError(f"{name} is no list of {kind.__name__}")
    for name, kind in (("changed", bool), ("previous", str)):
        if not isinstance(about[name], kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    return about
