"""What a signature says: an in-toto statement in a DSSE envelope, as OpenSSF model signing has it.

statement = statement_of("model", hashes, manifest_sha256=digest)
text = envelope_json(statement, signature, hint=hint)

Sources: https://github.com/in-toto/attestation (Statement v1),
https://github.com/secure-systems-lab/dsse (DSSE v1), and
https://github.com/sigstore/model-transparency (predicate model_signing/signature/v1.0).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trocar.contract.text.strict_json import parse_json

SIGNATURE = "model.sig"
"""Name of the signature in a bundle's folder; it cannot be listed, since it signs the list."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

_OWN = "trocar"
"""Member of the predicate with the hash of the manifest; other verifiers ignore it."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A signature file, read but not verified.

    Attributes:
        payload: The signed bytes: a statement.
        signature: The signature of `pre_authentication`.
        certificates: The chain in DER, the signer's first; empty for a bare key.
    """

    payload: bytes
    signature: bytes
    certificates: tuple[bytes, ...]


def statement_of(name: str, hashes: Mapping[str, str], *, manifest_sha256: str) -> bytes:
    """The bytes to sign.

    Args:
        name: Name of the model.
        hashes: SHA-256 of every file of the folder but the signature, by relative name.
        manifest_sha256: Canonical hash of ``manifest.json``.
    """
    resources = [
        {"name": file, "algorithm": "sha256", "digest": hashes[file]} for file in sorted(hashes)
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(hashes[file]) for file in sorted(hashes)))
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE],
            },
            "resources": resources,
            _OWN: {"manifest_sha256": manifest_sha256},
        },
    }
    return json.dumps(statement, ensure_ascii=False, indent=1).encode("utf-8")


def signed_manifest(payload: bytes, document: bytes) -> str:
    """The canonical hash of the manifest that a verified statement signs.

    Args:
        payload: The statement.
        document: The bundle's ``manifest.json``, for statements of other tools, which sign the
            hashes of files only.

    Returns:
        The hash; empty where the statement signs another ``manifest.json`` than ``document``.

    Raises:
        ValueError: It is no statement about a model.
    """
    from trocar.contract.integrity.manifest_hash import manifest_sha256

    statement = parse_json(payload)
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise ValueError(f"it is no {STATEMENT_TYPE}")
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise ValueError(f"its predicate is not {PREDICATE_TYPE}")
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict):
        raise ValueError("it has no predicate")
    own = predicate.get(_OWN)
    if isinstance(own, dict):
        return str(own.get("manifest_sha256"))
    digest = hashlib.sha256(document).hexdigest()
    for resource in predicate.get("resources") or ():
        if (
            isinstance(resource, dict)
            and resource.get("name") == "manifest.json"
            and resource.get("algorithm") == "sha256"
            and resource.get("digest") == digest
        ):
            return manifest_sha256(document)
    return ""


def pre_authentication(payload: bytes) -> bytes:
    """The bytes that are signed for a payload (DSSE's PAE)."""
    head = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} "
    return head.encode("ascii") + payload


def envelope_json(
    payload: bytes, signature: bytes, *, hint: str = "", certificates: Sequence[bytes] = ()
) -> str:
    """The text of a signature file.

    Args:
        payload: The statement.
        signature: The signature of `pre_authentication`.
        hint: SHA-256 of the public key as PEM, for a bare key.
        certificates: The chain in DER, the signer's first.
    """
    material: dict[str, Any] = {"tlogEntries": []}
    if certificates:
        chain = [{"rawBytes": base64.b64encode(der).decode()} for der in certificates]
        material["x509CertificateChain"] = {"certificates": chain}
    else:
        material["publicKey"] = {"hint": hint}
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document, indent=1) + "\n"


def read_envelope(text: bytes) -> Envelope:
    """Reads a signature file.

    Raises:
        ValueError: It is not of this format.
    """
    document = parse_json(text)
    try:
        if document["mediaType"] != MEDIA_TYPE:
            raise ValueError(f"its media type is not {MEDIA_TYPE}")
        envelope = document["dsseEnvelope"]
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"its payload is not {PAYLOAD_TYPE}")
        (signature,) = envelope["signatures"]
        chain = document["verificationMaterial"].get("x509CertificateChain") or {}
        return Envelope(
            payload=_decoded(envelope["payload"]),
            signature=_decoded(signature["sig"]),
            certificates=tuple(_decoded(c["rawBytes"]) for c in chain.get("certificates", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks {error}") from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("a value is not base64") from error
