"""Adds, replaces and removes classes of a classifier bundle from photographs, without training.

    enrolled = enroll("model.trocar", "harmonic scalpel", [Path("a.jpg"), Path("b.jpg")])
    remove("model.trocar", "harmonic scalpel"); undo("model.trocar")

``enroll.onnx`` of the bundle computes every class tensor from the kept features, so the method is
written once, and the result does not depend on the order of enrolments: photographs stand in the
order of their hashes, classes in the order of training and then by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import Bundle, open_bundle, update_bundle
from trocar.contract.class_store import ClassStore
from trocar.contract.classes import MAX_CLASSES
from trocar.contract.errors import BackendError, BundleError, DataError
from trocar.runtime.backends import Backend, open_backend
from trocar.runtime.enrolment.classes import (
    Enroller,
    checked_name,
    class_table,
    find_class,
    read_photos,
    with_class,
    without_class,
)

SAME = 0.995
"""Cosine between two classes' tensors from which on they are one class."""

KEPT_STATES = 5
"""How many earlier states of the classes a bundle keeps for undoing."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What an enrolment did.

    Attributes:
        bundle: The bundle as it is now.
        name: The class.
        photos: Its photographs.
        nearest: The class that is most alike.
        similarity: Cosine to it, -1..1.
        recognised: Share of the photographs that are recognised when each is left out; ``None``
            with one photograph.
        replaced: Whether the class was there before.
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
    """Makes a class of photographs and writes it into the bundle.

    Args:
        path: Classifier bundle.
        name: The class; any printable text.
        photos: Files, or ``[H, W, 3]`` uint8 RGB pictures, of the object filling the picture.
        replace_class: Take the place of a class of that name.
        threads: CPU threads.

    Raises:
        BundleError: No classifier bundle, or one whose classes are fixed.
        DataError: A name that clashes or is no text; photographs that are missing, unreadable or
            given twice; a class that cannot be told apart from another.
        SinkError: The bundle cannot be written; it is as it was.
    """
    bundle, store = open_classes(path)
    given = checked_name(name)
    place = _place_of(given, store, bundle, replace_class)
    images, digests = read_photos(photos)
    _check_copies(digests, store, given, bundle)
    backend = open_backend("onnxruntime", bundle.model, bundle.manifest, threads=threads)
    try:
        features = np.concatenate([_embed(backend, image) for image in images])
        changed = with_class(store, given, place, features, digests)
        enroller = Enroller(bundle)
        changed = enroller.renew(changed, store)
        index = changed.names.index(given)
        nearest, similarity = _nearest(changed, index)
        if similarity >= SAME:
            raise _indistinguishable(given, nearest, similarity, None, bundle)
        recognised = None
        if len(images) > 1:
            recognised, rival = _leave_one_out(
                backend, enroller, changed, store, dict(zip(digests, images, strict=True)), index
            )
            if recognised <= 0.5:
                cosine = _similarity(changed, index, changed.names.index(rival))
                raise _indistinguishable(given, rival, cosine, recognised, bundle)
    finally:
        backend.close()
    return Enrolled(
        bundle=_write(bundle, changed),
        name=given,
        photos=len(images),
        nearest=nearest,
        similarity=similarity,
        recognised=recognised,
        replaced=place is not None,
    )


def remove(path: str | Path, name: str) -> Bundle:
    """Takes a class out; the others are as if it had never been there.

    Raises:
        BundleError: See `open_classes`.
        DataError: There is no such class, or fewer than two would remain.
    """
    bundle, store = open_classes(path)
    place = find_class(name, store.names)
    if place is None:
        raise DataError(
            f"{bundle.path} has no class {name!r}; it has {', '.join(map(repr, store.names))}",
            remedy="see `trocar enroll MODEL --list`",
        )
    if len(store.names) <= 2:
        raise DataError(
            f"{bundle.path} has two classes; without {name!r} nothing is left to tell apart",
            remedy="enrol another class first",
        )
    kept = without_class(store, place)
    return _write(bundle, Enroller(bundle).renew(kept, store))


def undo(path: str | Path) -> Bundle:
    """Goes back to the classes before the last change.

    Raises:
        BundleError: See `open_classes`; or there is nothing to undo.
    """
    bundle, store = open_classes(path)
    if not store.previous or store.previous not in bundle.manifest.files:
        raise BundleError(f"{bundle.path} has no change to undo", remedy="enrol a class first")
    earlier = ClassStore.from_bytes(bundle.read(store.previous), source=store.previous)
    about = dict(bundle.manifest.extra["classification"])
    gone = about["state"]
    about["state"] = store.previous
    manifest = replace(
        bundle.manifest,
        classes=class_table(earlier.names, bundle.manifest.classes),
        extra={**bundle.manifest.extra, "classification": about},
    )
    return update_bundle(bundle, remove=[gone], manifest=manifest)


def open_classes(path: str | Path) -> tuple[Bundle, ClassStore]:
    """Opens a bundle whose classes can be changed.

    Raises:
        BundleError: It is no classifier, or its classes are fixed.
    """
    bundle = open_bundle(path)
    if bundle.manifest.task != "classification":
        raise BundleError(
            f"{path} is a {bundle.manifest.task} bundle, a classifier is wanted here",
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
    """The classes beside a bundle's graph; ``None`` where they are fixed."""
    about = bundle.manifest.extra.get("classification")
    state = about.get("state") if isinstance(about, Mapping) else None
    if not isinstance(state, str):
        return None
    return ClassStore.from_bytes(bundle.read(state), source=f"{bundle.path}/{state}")


def set_classes(backend: Backend, bundle: Bundle) -> None:
    """Hands enrolled classes to a backend; one that cannot take them refuses.

    Raises:
        BackendError: The backend knows only the classes that the graph was exported with.
    """
    store = stored_classes(bundle) if bundle.manifest.task == "classification" else None
    if store is None or not store.changed:
        return
    take = getattr(backend, "set_inputs", None)
    if take is None:
        raise BackendError(
            f"{bundle.path} has enrolled classes, which backend {backend.name} cannot take",
            remedy="use --backend onnxruntime",
        )
    take(store.inputs)


def _embed(backend: Backend, image: NDArray[np.uint8]) -> Floats:
    """Features ``[1, F]``, one picture at a time: neighbours in a batch change last bits."""
    features: Floats = backend.infer(image[None])["embedding"]
    return features


def _place_of(name: str, store: ClassStore, bundle: Bundle, replaces: bool) -> int | None:
    place = find_class(name, store.names)
    if place is not None and not replaces:
        raise DataError(
            f"{bundle.path} has a class {store.names[place]!r} already",
            remedy="choose another name, or pass --replace",
        )
    if place is not None and store.names[place] != name:
        raise DataError(
            f"{name!r} reads like the class {store.names[place]!r} but is spelled otherwise",
            remedy=f"replace it by its own name, {store.names[place]!r}",
        )
    if place is None and len(store.names) >= MAX_CLASSES:
        raise DataError(
            f"{bundle.path} has {MAX_CLASSES} classes, the most that there can be",
            remedy="remove one first",
        )
    return place


def _check_copies(digests: Sequence[str], store: ClassStore, name: str, bundle: Bundle) -> None:
    known = dict(zip(store.digests, store.owners.tolist(), strict=True))
    for digest in digests:
        if digest in known and digest and store.names[known[digest]] != name:
            raise DataError(
                f"a photograph of {name!r} is one of class {store.names[known[digest]]!r} in "
                f"{bundle.path} already",
                remedy="leave it out, or replace that class",
            )


def _similarity(store: ClassStore, one: int, other: int) -> float:
    tensor = _describing(store.inputs)
    a, b = tensor[one].astype(np.float64), tensor[other].astype(np.float64)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _nearest(store: ClassStore, index: int) -> tuple[str, float]:
    others = [i for i in range(len(store.names)) if i != index]
    best = max(others, key=lambda i: _similarity(store, index, i))
    return store.names[best], _similarity(store, index, best)


def _describing(inputs: Mapping[str, Floats]) -> Floats:
    for name in ("descriptions", "centroids"):
        if name in inputs:
            return inputs[name]
    raise BundleError(
        f"the classes are described by {', '.join(inputs)}, expected descriptions or centroids",
        remedy="export the bundle again",
    )


def _leave_one_out(
    backend: Backend,
    enroller: Enroller,
    changed: ClassStore,
    before: ClassStore,
    images: Mapping[str, NDArray[np.uint8]],
    index: int,
) -> tuple[float, str]:
    """Share of the new photographs that are recognised without themselves, and the best rival."""
    right, rivals = 0, np.zeros(len(changed.names))
    rows = np.flatnonzero(changed.owners == index)
    for row in rows.tolist():
        tensors = {**changed.inputs, **enroller.tensors(changed, left_out=row)}
        take: Any = backend
        take.set_inputs(tensors)
        scores = backend.infer(images[changed.digests[row]][None])["scores"][0]
        best = int(scores.argmax())
        right += best == index
        rivals[best] += best != index
    rival = int(rivals.argmax()) if rivals.any() else (0 if index else 1)
    return right / len(rows), changed.names[rival]


def _indistinguishable(
    name: str, other: str, cosine: float, recognised: float | None, bundle: Bundle
) -> DataError:
    how = f"their similarity is {cosine:.3f}"
    if recognised is not None:
        how += f", and {recognised:.0%} of its photographs are recognised when left out"
    return DataError(
        f"{name!r} cannot be told apart from {other!r} in {bundle.path}: {how}",
        remedy="give more and clearer photographs, replace the other class, or train with both",
    )


def _write(bundle: Bundle, store: ClassStore) -> Bundle:
    """Writes the classes beside the graph, in one step; earlier states stay for undoing."""
    about = dict(bundle.manifest.extra["classification"])
    before = str(about["state"])
    store = replace(store, previous=before)
    name = store.file_name()
    about["state"] = name
    manifest = replace(
        bundle.manifest,
        classes=class_table(store.names, bundle.manifest.classes),
        extra={**bundle.manifest.extra, "classification": about},
    )
    if open_bundle(bundle.path).manifest != bundle.manifest:
        raise BundleError(
            f"{bundle.path} was changed by somebody else meanwhile", remedy="try again"
        )
    return update_bundle(
        bundle, add={name: store.to_bytes()}, remove=_forgotten(bundle, before), manifest=manifest
    )


def _forgotten(bundle: Bundle, state: str) -> list[str]:
    """States that are too old to be kept."""
    chain = [state]
    while True:
        store = ClassStore.from_bytes(bundle.read(chain[-1]), source=chain[-1])
        if not store.previous or store.previous not in bundle.manifest.files:
            return chain[KEPT_STATES:]
        chain.append(store.previous)
