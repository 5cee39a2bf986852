"""Adds, replaces and removes classes of a classifier bundle from photographs, without training.

    enrolled = enroll("model.trocar", "harmonic scalpel", [Path("a.jpg"), Path("b.jpg")])
    remove("model.trocar", "harmonic scalpel"); undo("model.trocar")

``enroll.onnx`` of the bundle computes all class tensors from the stored features. The result does
not depend on the order of enrolments: photographs are ordered by their SHA-256, trained classes by
class id and enrolled classes by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import Bundle, open_bundle, update_bundle
from trocar.contract.class_store import ClassStore
from trocar.contract.classes import MAX_CLASSES, ClassTable
from trocar.contract.errors import BackendError, BundleError, DataError
from trocar.runtime.backends import Backend, TakesInputs, open_backend
from trocar.runtime.enrolment.classes import (
    EnrollGraph,
    class_table,
    find_class,
    normalised_name,
    read_photos,
    with_class,
    without_class,
)

MAX_SIMILARITY = 0.995
"""Cosine between two classes' tensors from which on an enrolment is refused."""

MAX_UNDO_STATES = 5
"""Earlier states of the classes that a bundle stores for `undo`."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """Result of an enrolment.

    Attributes:
        bundle: The changed bundle.
        name: The class.
        photos: Number of its photographs.
        nearest: Name of the most similar other class.
        similarity: Cosine to ``nearest``, -1..1.
        recognised: Fraction of the photographs, 0..1, that are recognised without themselves
            (leave-one-out); ``None`` with one photograph.
        replaced: Whether a class of that name was replaced.
    """

    bundle: Bundle
    name: str
    photos: int
    nearest: str
    similarity: float
    recognised: float | None
    replaced: bool


def enroll(
    path: str | Path,
    name: str,
    photos: Sequence[Path | NDArray[np.uint8]],
    *,
    replace_class: bool = False,
    threads: int | None = None,
) -> Enrolled:
    """Adds a class from photographs to a bundle.

    Args:
        path: Classifier bundle.
        name: The class; 1 to 80 printable characters.
        photos: Files, or ``[H, W, 3]`` uint8 RGB images, that the object fills.
        replace_class: Whether a class of that name is replaced.
        threads: CPU threads.

    Raises:
        BundleError: It is not a classifier bundle, or its classes are fixed.
        DataError: The name clashes or is not allowed; a photograph is missing, unreadable or given
            twice; the class cannot be distinguished from another.
        SinkError: The bundle cannot be written; it is unchanged.
    """
    bundle, store = open_classes(path)
    name = normalised_name(name)
    replaced = _replaced_index(name, store, bundle, replace_class=replace_class)
    images, digests = read_photos(photos)
    _check_copies(digests, store, name, bundle)
    backend = open_backend("onnxruntime", bundle.model, bundle.manifest, threads=threads)
    try:
        features = np.concatenate([_embed(backend, image) for image in images])
        graph = EnrollGraph(bundle)
        changed = graph.recompute(
            with_class(store, name, replaced=replaced, features=features, digests=digests), store
        )
        index = changed.names.index(name)
        nearest, similarity = _nearest(changed, index)
        if similarity >= MAX_SIMILARITY:
            raise _indistinguishable(bundle, name, nearest, similarity)
        recognised = None
        if len(images) > 1:
            image_of = dict(zip(digests, images, strict=True))
            recognised, rival = _leave_one_out(backend, graph, changed, index, image_of)
            if recognised <= 0.5:
                cosine = _similarity(changed, index, changed.names.index(rival))
                raise _indistinguishable(bundle, name, rival, cosine, recognised=recognised)
    finally:
        backend.close()
    return Enrolled(
        bundle=_write(bundle, changed),
        name=name,
        photos=len(images),
        nearest=nearest,
        similarity=similarity,
        recognised=recognised,
        replaced=replaced is not None,
    )


def remove(path: str | Path, name: str) -> Bundle:
    """Removes a class; the result is as if it had never been enrolled.

    Raises:
        BundleError: See `open_classes`.
        DataError: There is no such class, or fewer than two classes would remain.
    """
    bundle, store = open_classes(path)
    index = find_class(name, store.names)
    if index is None:
        raise DataError(
            f"{bundle.path} has no class {name!r}; it has {', '.join(map(repr, store.names))}",
            remedy="see `trocar enroll MODEL --list`",
        )
    if len(store.names) <= 2:
        raise DataError(
            f"{bundle.path} has two classes, and a classifier needs at least two",
            remedy="enrol another class first",
        )
    remaining = without_class(store, index)
    return _write(bundle, EnrollGraph(bundle).recompute(remaining, store))


def undo(path: str | Path) -> Bundle:
    """Restores the classes before the last change.

    Raises:
        BundleError: See `open_classes`; or there is nothing to undo.
    """
    bundle, store = open_classes(path)
    if not store.previous or store.previous not in bundle.manifest.files:
        raise BundleError(f"{bundle.path} has no change to undo", remedy="enrol a class first")
    _states(bundle, bundle.manifest.extra["classification"]["state"])
    earlier = ClassStore.from_bytes(bundle.read(store.previous), source=store.previous)
    metadata = dict(bundle.manifest.extra["classification"])
    undone = metadata["state"]
    metadata["state"] = store.previous
    manifest = replace(
        bundle.manifest,
        classes=_table_of(earlier, bundle),
        extra={**bundle.manifest.extra, "classification": metadata},
    )
    return update_bundle(bundle, remove=[undone], manifest=manifest)


def open_classes(path: str | Path) -> tuple[Bundle, ClassStore]:
    """Opens a bundle whose classes can be changed.

    Raises:
        BundleError: It is not a classifier, or its classes are fixed.
    """
    bundle = open_bundle(path)
    if bundle.manifest.task != "classification":
        raise BundleError(
            f"{path} is a {bundle.manifest.task} bundle, expected a classification bundle",
            remedy="export a run of `trocar train head-triplet` or `few-shot`",
        )
    store = stored_classes(bundle)
    if store is None:
        raise BundleError(
            f"{path} has a fixed set of classes ({bundle.manifest.method})",
            remedy="train with `trocar train head-triplet`, `few-shot`, or "
            "`classifier --comparison centroid`",
        )
    return bundle, store


def stored_classes(bundle: Bundle) -> ClassStore | None:
    """The class store of a bundle; ``None`` if its classes are fixed."""
    metadata = bundle.manifest.extra.get("classification")
    state = metadata.get("state") if isinstance(metadata, Mapping) else None
    if not isinstance(state, str):
        return None
    return ClassStore.from_bytes(bundle.read(state), source=f"{bundle.path}/{state}")


def set_classes(backend: Backend, bundle: Bundle) -> None:
    """Sets the enrolled classes of a bundle in a backend; does nothing if there are none.

    Raises:
        BackendError: The backend cannot override the classes of the exported graph.
    """
    store = stored_classes(bundle) if bundle.manifest.task == "classification" else None
    if store is None or not store.changed:
        return
    if not isinstance(backend, TakesInputs):
        raise BackendError(
            f"{bundle.path} has enrolled classes, which backend {backend.name} does not support",
            remedy="use --backend onnxruntime",
        )
    backend.set_inputs(store.inputs)


def _embed(backend: Backend, image: NDArray[np.uint8]) -> Floats:
    """Features ``[1, F]`` of one image. Batches are not used: they change the last bits."""
    features: Floats = backend.infer(image[None])["embedding"]
    return features


def _replaced_index(
    name: str, store: ClassStore, bundle: Bundle, *, replace_class: bool
) -> int | None:
    """Index of the class that ``name`` replaces; ``None`` for a new class."""
    index = find_class(name, store.names)
    if index is not None and not replace_class:
        raise DataError(
            f"{bundle.path} already has a class {store.names[index]!r}",
            remedy="choose another name, or pass --replace",
        )
    if index is not None and store.names[index] != name:
        raise DataError(
            f"{name!r} differs from the class {store.names[index]!r} only in case, width or spaces",
            remedy=f"replace it under its exact name, {store.names[index]!r}",
        )
    if index is None and len(store.names) >= MAX_CLASSES:
        raise DataError(
            f"{bundle.path} has {MAX_CLASSES} classes, which is the maximum",
            remedy="remove a class first",
        )
    return index


def _check_copies(digests: Sequence[str], store: ClassStore, name: str, bundle: Bundle) -> None:
    owner_of = dict(zip(store.digests, store.owners.tolist(), strict=True))
    for digest in digests:
        if digest in owner_of and digest and store.names[owner_of[digest]] != name:
            raise DataError(
                f"a photograph of {name!r} is already one of class "
                f"{store.names[owner_of[digest]]!r} in {bundle.path}",
                remedy="leave it out, or replace that class",
            )


def _similarity(store: ClassStore, one: int, other: int) -> float:
    """Cosine between two classes."""
    tensor = _class_tensor(store.inputs)
    a, b = tensor[one].astype(np.float64), tensor[other].astype(np.float64)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _nearest(store: ClassStore, index: int) -> tuple[str, float]:
    """Name of the most similar other class, and the cosine to it."""
    cosines = {i: _similarity(store, index, i) for i in range(len(store.names)) if i != index}
    best = max(cosines, key=cosines.__getitem__)
    return store.names[best], cosines[best]


def _class_tensor(inputs: Mapping[str, Floats]) -> Floats:
    """The tensor that describes the classes, ``[K, …]``."""
    for name in ("descriptions", "centroids"):
        if name in inputs:
            return inputs[name]
    raise BundleError(
        f"the class tensors are {', '.join(inputs)}, expected descriptions or centroids",
        remedy="export the bundle again",
    )


def _leave_one_out(
    backend: Backend,
    graph: EnrollGraph,
    store: ClassStore,
    index: int,
    image_of: Mapping[str, NDArray[np.uint8]],
) -> tuple[float, str]:
    """Recognises each photograph of a class without itself.

    Returns:
        The fraction that is recognised, and the class that most of the others are taken for.
    """
    assert isinstance(backend, TakesInputs)
    recognised, mistaken_for = 0, np.zeros(len(store.names))
    rows = np.flatnonzero(store.owners == index)
    for row in rows.tolist():
        backend.set_inputs({**store.inputs, **graph.class_tensors(store, left_out=row)})
        scores = backend.infer(image_of[store.digests[row]][None])["scores"][0]
        best = int(scores.argmax())
        if best == index:
            recognised += 1
        else:
            mistaken_for[best] += 1
    rival = int(mistaken_for.argmax()) if mistaken_for.any() else (0 if index else 1)
    return recognised / len(rows), store.names[rival]


def _indistinguishable(
    bundle: Bundle, name: str, other: str, cosine: float, *, recognised: float | None = None
) -> DataError:
    measured = f"their similarity is {cosine:.3f}"
    if recognised is not None:
        measured += f", and {recognised:.0%} of its photographs are recognised without themselves"
    return DataError(
        f"{name!r} cannot be distinguished from {other!r} in {bundle.path}: {measured}",
        remedy="give more and clearer photographs, replace the other class, or train with both",
    )


def _write(bundle: Bundle, store: ClassStore) -> Bundle:
    """Writes the classes into the bundle atomically; earlier states are kept for `undo`."""
    metadata = dict(bundle.manifest.extra["classification"])
    before = str(metadata["state"])
    table = class_table(store.names, bundle.manifest.classes)
    store = replace(store, previous=before, table=tuple(table.to_dicts()))
    name = store.file_name()
    metadata["state"] = name
    manifest = replace(
        bundle.manifest,
        classes=table,
        extra={**bundle.manifest.extra, "classification": metadata},
    )
    if open_bundle(bundle.path).manifest != bundle.manifest:
        raise BundleError(
            f"{bundle.path} was changed by another process meanwhile",
            remedy="run the command again",
        )
    return update_bundle(
        bundle,
        add={name: store.to_bytes()},
        remove=_states(bundle, before)[MAX_UNDO_STATES:],
        manifest=manifest,
    )


def _table_of(store: ClassStore, bundle: Bundle) -> ClassTable:
    """The class table that belongs to stored classes."""
    if store.table:
        return ClassTable.from_dicts(store.table)
    exported = None if store.changed else bundle.exported()
    if exported is not None:
        return exported.classes
    return class_table(store.names, bundle.manifest.classes)


def _states(bundle: Bundle, state: str) -> list[str]:
    """Files of a state and of those before it, the newest first.

    Raises:
        BundleError: They lead back to one of them, so that they have no end.
    """
    chain = [state]
    while True:
        store = ClassStore.from_bytes(bundle.read(chain[-1]), source=chain[-1])
        if not store.previous or store.previous not in bundle.manifest.files:
            return chain
        if store.previous in chain:
            raise BundleError(
                f"{bundle.path}: the state before {chain[-1]} is {store.previous}, which came "
                "after it or is the same",
                remedy="export the bundle again, and enrol its classes again",
            )
        chain.append(store.previous)
