"""Keys in files, and what may be done to a signed bundle.

private, public = written(tmp_path, "key", ed25519.Ed25519PrivateKey.generate())
TAMPERINGS["no instruments"](tmp_path / "m.trocar")
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trocar.contract.bundle import MANIFEST, open_bundle, write_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.signatures.statement import SIGNATURE

pytest.importorskip("cryptography", reason="cryptography is not installed (extra signing)")
from cryptography.hazmat.primitives import serialization as pem


def written(folder: Path, name: str, key: Any) -> tuple[Path, Path]:
    """Private and public key as PEM files."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def rehashed(bundle: Path, **changes: Any) -> None:
    """The bundle with another manifest, consistent in itself, and the old signature."""
    opened = open_bundle(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files}
    signature = (bundle / SIGNATURE).read_bytes()
    manifest = replace(opened.manifest, **changes)
    write_bundle(bundle, manifest, _without_guard(files), overwrite=True)
    (bundle / SIGNATURE).write_bytes(signature)


def _without_guard(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files, with a model that states nothing of the old manifest."""
    import onnx

    model = onnx.load_from_string(files["model.onnx"])
    del model.metadata_props[:]
    return {**files, "model.onnx": model.SerializeToString()}


SWAPPED = ("background", "scissors", "grasper")
REHASHED: dict[str, dict[str, Any]] = {
    "other name": {"name": "another"},
    "classes swapped": {"classes": ClassTable.from_names(SWAPPED)},
    "no instruments": {"classes": ClassTable.from_names(SWAPPED, instruments=())},
    "other margin": {"golden_margin": 1e6},
    "other method": {"method": "other"},
    "other source": {"source": {"checkpoint": "other"}},
    "other extra": {"extra": {"threshold": 0.9}},
}


def envelope_changes() -> dict[str, Callable[[dict[str, Any]], None]]:
    """Changes of the signature file."""

    def flipped(at: str, index: int) -> Callable[[dict[str, Any]], None]:
        def change(document: dict[str, Any]) -> None:
            place = document["dsseEnvelope"]
            place = place["signatures"][0] if at == "sig" else place
            data = bytearray(base64.b64decode(place[at]))
            data[index % len(data)] ^= 1
            place[at] = base64.b64encode(data).decode()

        return change

    def payload(**values: Any) -> Callable[[dict[str, Any]], None]:
        def change(document: dict[str, Any]) -> None:
            envelope = document["dsseEnvelope"]
            statement = {**json.loads(base64.b64decode(envelope["payload"])), **values}
            envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

        return change

    changes: dict[str, Callable[[dict[str, Any]], None]] = {
        f"{at} byte {i}": flipped(at, i) for at in ("sig", "payload") for i in range(0, 400, 29)
    }
    changes["other predicate"] = payload(predicateType="x")
    changes["other type"] = payload(_type="x")
    changes["empty predicate"] = payload(predicate={})
    changes["media type"] = lambda d: d.update(mediaType="application/json")
    changes["payload type"] = lambda d: d["dsseEnvelope"].update(payloadType="text/plain")
    changes["two signatures"] = lambda d: d["dsseEnvelope"]["signatures"].append({"sig": ""})
    changes["no signature"] = lambda d: d["dsseEnvelope"].update(signatures=[])
    changes["no envelope"] = lambda d: d.pop("dsseEnvelope")
    changes["no base64"] = lambda d: d["dsseEnvelope"].update(payload="%")
    changes["a number"] = lambda d: d.update(dsseEnvelope=7)
    return changes


def _resigned(change: Callable[[dict[str, Any]], None], bundle: Path) -> None:
    document = json.loads((bundle / SIGNATURE).read_text())
    change(document)
    (bundle / SIGNATURE).write_text(json.dumps(document))


def _flipped(name: str, bundle: Path) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)


def _text(text: str, bundle: Path) -> None:
    (bundle / SIGNATURE).write_text(text)


def _respaced(bundle: Path) -> None:
    document = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(document, indent=3, sort_keys=True))


TAMPERINGS: dict[str, Callable[[Path], None]] = {
    **{name: partial(rehashed, **changes) for name, changes in REHASHED.items()},
    **{name: partial(_resigned, change) for name, change in envelope_changes().items()},
    **{f"{name} changed": partial(_flipped, name) for name in ("model.onnx", "golden.npz")},
    **{
        f"signature is {text[:9]!r}": partial(_text, text)
        for text in ("", "{", "[]", "{}", "[" * 10_000, "x" * (5 << 20))
    },
    "no signature": lambda bundle: (bundle / SIGNATURE).unlink(),
}
"""Each must be refused by every runtime with `IntegrityError`, where trust is asked for."""

HARMLESS: dict[str, Callable[[Path], None]] = {"nothing": lambda bundle: None, "spaces": _respaced}
"""What changes no meaning: the bundle still opens."""
