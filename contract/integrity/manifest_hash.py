"""Hashes of a manifest that do not depend on its white space.

manifest_sha256(b'{"schema": "1.0"}')       # 64 hexadecimal digits

Two hashes, both of the canonical form (see `trocar.contract.text.canonical_json`):

`manifest_sha256` covers the whole document, ``files`` included, and so every file of the bundle. It
is what a signature signs. `guarded_sha256` covers what ``model.onnx`` can state about the manifest:
all but ``files`` (a file cannot contain its own hash) and, where classes can be enrolled, all but
the class table and the name of the file that holds the classes.
"""

from __future__ import annotations

import hashlib
from typing import Any

from trocar.contract.text.canonical_json import canonical_json, parse_as_written


def manifest_sha256(document: str | bytes) -> str:
    """SHA-256 of the canonical form of a manifest, ``files`` included.

    Args:
        document: The text of ``manifest.json``.

    Raises:
        ValueError: It is no JSON that the runtimes accept.
    """
    return _sha256(parse_as_written(document))


def guarded_sha256(document: str | bytes) -> str:
    """SHA-256 of the part of a manifest that ``model.onnx`` guards.

    Args:
        document: The text of ``manifest.json``, or of the copy in ``model.onnx``.

    Raises:
        ValueError: It is no JSON that the runtimes accept.
    """
    data = parse_as_written(document)
    if not isinstance(data, dict):
        return _sha256(data)
    data.pop("files", None)
    about = enrolment_of(data)
    if about is not None:
        del about["state"], data["classes"]
    return _sha256(data)


def classes_sha256(document: Any) -> str:
    """SHA-256 of the class table of a parsed manifest, see `parse_as_written`."""
    return _sha256(document["classes"])


def enrolment_of(data: dict[str, Any]) -> dict[str, Any] | None:
    """The member ``extra.classification`` of a manifest whose classes can be enrolled.

    Returns:
        ``None`` for a segmentation model and for a classifier with a fixed set of classes.
    """
    if data.get("task") != "classification" or "classes" not in data:
        return None
    extra = data.get("extra")
    about = extra.get("classification") if isinstance(extra, dict) else None
    if not isinstance(about, dict) or not isinstance(about.get("state"), str):
        return None
    return about


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()
