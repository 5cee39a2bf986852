"""Whether a manifest is the one that was exported, and fits the graph beside it.

    check_guard(text, manifest, model, source="m.trocar")
    model = with_guard(model, manifest)          # what the exporter stores in model.onnx

``model.onnx`` states the manifest twice: as a copy (without ``files``) and as the SHA-256 of the
copy's canonical form. Both are compared with ``manifest.json``. A bundle of Trocar 0.1 has the copy
only, which is compared alike. Where classes were enrolled after export, the class table is compared
with the one in the file of the classes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from trocar.contract.class_store import ClassStore
from trocar.contract.errors import BundleError, IntegrityError
from trocar.contract.integrity.manifest_hash import (
    classes_sha256,
    enrolment_of,
    guarded_sha256,
)
from trocar.contract.integrity.onnx_file import OnnxFacts, read_onnx, with_metadata
from trocar.contract.manifest import HASH_KEY, METADATA_KEY, Manifest
from trocar.contract.text.canonical_json import parse_as_written

MIN_COMPARED = 0.05
"""Smallest share of the golden frame's pixels that must lie above the margin. Below it the frame
proves too little: no such bundle is exported, and a runtime refuses it."""

_MAIN_OUTPUT = {
    "segmentation": ("labels", ("uint8",)),
    "classification": ("scores", ("float16", "float32")),
    "instances": ("instances", ("uint8",)),
}


def with_guard(model: bytes, manifest: Manifest) -> bytes:
    """The ONNX file with the manifest's copy and its hash in the metadata.

    Bytes that are no ONNX file, and a file that states them already, are returned as they are.
    """
    facts = read_onnx(model)
    if facts is None:
        return model
    entries = guard_entries(manifest)
    if entries.items() <= facts.metadata.items():
        return model
    return with_metadata(model, entries)


def guard_entries(manifest: Manifest) -> dict[str, str]:
    """The two entries of an ONNX file's metadata, by key."""
    text = manifest.without_files().to_json()
    return {METADATA_KEY: text, HASH_KEY: guarded_sha256(text)}


def check_guard(
    document: str | bytes,
    manifest: Manifest,
    model: bytes,
    *,
    source: str,
    read: Callable[[str], bytes] | None = None,
) -> None:
    """Compares a manifest with the copies of it in a bundle, and with the graph.

    Args:
        document: The text of ``manifest.json``, or the copy in ``model.onnx`` for a bare file.
        manifest: The same, read.
        model: Bytes of ``model.onnx``.
        source: The bundle's name, for errors.
        read: Reads a listed file of the bundle; ``None`` for a bare file.

    Raises:
        IntegrityError: The manifest differs from its copy or its hash.
        BundleError: The graph does not fit the manifest, or loads constants from another file.
    """
    facts = read_onnx(model)
    if facts is None:
        return  # The backend refuses it.
    copy = facts.metadata.get(METADATA_KEY)
    if copy is not None:
        _check_copy(document, copy, facts.metadata.get(HASH_KEY), source)
        if read is not None:
            _check_classes(document, copy, source, read)
    _check_graph(facts, manifest, source)


def exported_text(model: bytes) -> str | None:
    """The manifest's copy in the metadata of ``model.onnx``; ``None`` without one."""
    facts = read_onnx(model)
    return None if facts is None else facts.metadata.get(METADATA_KEY)


def _check_copy(document: str | bytes, copy: str, stated: str | None, source: str) -> None:
    expected = guarded_sha256(document)
    try:
        found = guarded_sha256(copy)
    except (ValueError, RecursionError):
        found = ""
    if found != expected or (stated is not None and stated != expected):
        raise _differs(source, "its copy in model.onnx")


def _check_classes(
    document: str | bytes, copy: str, source: str, read: Callable[[str], bytes]
) -> None:
    """Compares the class table of a classifier whose classes can be enrolled."""
    data, exported = parse_as_written(document), parse_as_written(copy)
    about = enrolment_of(data)
    if about is None:
        return
    content = read(about["state"])
    store = ClassStore.from_bytes(content, source=f"{source}/{about['state']}")
    if not store.changed:
        if classes_sha256(data) != classes_sha256(exported):
            raise _differs(source, "its copy in model.onnx")
        return
    # Trocar 0.1 stored the names only.
    table = _table_of(content)
    if table is not None:
        if classes_sha256(data) != classes_sha256({"classes": table}):
            raise _differs(source, f"the class table in {about['state']}")
    elif [row.get("name") for row in data["classes"]] != list(store.names):
        raise _differs(source, f"the names in {about['state']}")


def _table_of(store: bytes) -> Any:
    """The class table in the file of the classes, as written; ``None`` without one."""
    with np.load(io.BytesIO(store), allow_pickle=False) as file:
        return parse_as_written(file["about"].tobytes()).get("classes")


def _check_graph(facts: OnnxFacts, manifest: Manifest, source: str) -> None:
    faults: list[str] = []
    if facts.has_external_data:
        faults.append("model.onnx loads constants from another file")
    if facts.precision != manifest.precision:
        faults.append(f"the graph is {facts.precision}, the manifest says {manifest.precision}")
    if manifest.input.name not in facts.inputs:
        faults.append(
            f"the graph has the inputs {', '.join(facts.inputs) or 'none'}, the manifest says "
            f"{manifest.input.name}"
        )
    name, kinds = _MAIN_OUTPUT[manifest.task]
    if facts.outputs.get(name, "") not in ("", *kinds) or name not in facts.outputs:
        faults.append(f"the graph has no output {name} of type {' or '.join(kinds)}")
    for output in manifest.outputs:
        if output.name not in facts.outputs:
            faults.append(f"the graph has no output {output.name}")
        elif facts.outputs[output.name] not in ("", output.dtype):
            faults.append(
                f"output {output.name} is {facts.outputs[output.name]}, the manifest says "
                f"{output.dtype}"
            )
    if faults:
        raise BundleError(
            f"the manifest of {source} does not fit its model.onnx: " + "; ".join(faults),
            remedy="export the bundle again",
        )


def _differs(source: str, other: str) -> IntegrityError:
    return IntegrityError(
        f"manifest.json in {source} differs from {other}",
        remedy="copy the bundle again from where it was made; if it was edited, export it again",
    )
