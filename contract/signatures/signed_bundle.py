"""Signs bundles, and verifies that a bundle is the one that was signed.

    sign_bundle(Path("model.trocar"), read_private_key(Path("key.pem"), None))
    verify_bundle(open_bundle("model.trocar"), Path("key.pub"))      # IntegrityError if not

The signature covers the canonical hash of the manifest, which covers the hash of every file. It
also lists every file of the folder, so the tool `model_signing` verifies it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trocar.contract.bundle import MANIFEST, Bundle, open_bundle, sha256_of, write_atomic
from trocar.contract.errors import BundleError, ConfigError, IntegrityError, OutputExistsError
from trocar.contract.signatures.keys import (
    der_of,
    is_signed_by,
    public_pem,
    read_trust,
    signature_of,
    trusted_key,
)
from trocar.contract.signatures.statement import (
    SIGNATURE,
    envelope_json,
    pre_authentication,
    read_envelope,
    signed_manifest,
    statement_of,
)

MAX_SIGNATURE_BYTES = 4 << 20


def sign_bundle(
    path: Path, key: Any, *, chain: Sequence[Any] = (), overwrite: bool = False
) -> Path:
    """Writes ``model.sig`` into a bundle.

    Args:
        path: The bundle; every hash in it is checked first.
        key: The private key, see `trocar.contract.signatures.keys.read_private_key`.
        chain: Certificates, the signer's first; empty for a bare key.
        overwrite: Replace a signature that exists.

    Returns:
        Path of the signature.

    Raises:
        OutputExistsError: There is a signature already.
        ConfigError: The first certificate is of another key.
        BundleError: The bundle is incomplete; also `IntegrityError`.
    """
    bundle = open_bundle(path)
    target = bundle.path / SIGNATURE
    if target.exists() and not overwrite:
        raise OutputExistsError(
            f"{bundle.path} is signed already", remedy="pass --overwrite to sign it again"
        )
    public = public_pem(key.public_key())
    if chain and public_pem(chain[0].public_key()) != public:
        raise ConfigError(
            "the first certificate is of another key than the private key",
            remedy="put the signer's certificate first in the file of --certificate",
        )
    payload = statement_of(
        bundle.path.resolve().name, _hashes(bundle.path), manifest_sha256=bundle.sha256
    )
    text = envelope_json(
        payload,
        signature_of(key, pre_authentication(payload)),
        hint=hashlib.sha256(public).hexdigest(),
        certificates=[der_of(certificate) for certificate in chain],
    )
    write_atomic(target, text.encode())
    return target


def verify_bundle(bundle: Bundle, trust: str | Path) -> None:
    """Verifies that an opened bundle is the one that was signed; needs no network.

    Args:
        bundle: The bundle, opened: its files match its manifest.
        trust: PEM file with the signer's public key, or with certificates that the signer's
            certificate leads to.

    Raises:
        IntegrityError: It is not signed, by somebody else, or was changed after it was signed.
        ConfigError: ``trust`` is no such file.
        MissingExtraError: `cryptography` is not installed.
    """
    trusted = read_trust(Path(trust))
    file = bundle.path / SIGNATURE
    if not file.is_file():
        raise IntegrityError(
            f"{bundle.path} is not signed, and {trusted.path} was named as trusted",
            remedy="ask for the signed bundle, or sign it: trocar sign BUNDLE --key KEY",
        )
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_SIGNATURE_BYTES + 1)
        if len(text) > MAX_SIGNATURE_BYTES:
            raise ValueError(f"it is longer than {MAX_SIGNATURE_BYTES} bytes")
        envelope = read_envelope(text)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{file} is no signature of a model: {error}", remedy="copy the bundle again"
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read {file}: {error}", remedy="copy the bundle again") from error
    keys = trusted.keys
    if trusted.certificates:
        if not envelope.certificates:
            raise IntegrityError(
                f"{file} was signed with a bare key; {trusted.path} holds certificates",
                remedy="name the signer's public key as trusted",
            )
        keys = (trusted_key(envelope.certificates, trusted),)
    signed = pre_authentication(envelope.payload)
    if not any(is_signed_by(key, envelope.signature, signed) for key in keys):
        raise IntegrityError(
            f"{file} was not signed with the key of {trusted.path}",
            remedy="ask who signed the bundle for their public key, by another way than the bundle",
        )
    try:
        digest = signed_manifest(envelope.payload, (bundle.path / MANIFEST).read_bytes())
    except (ValueError, OSError) as error:
        raise IntegrityError(
            f"{file} signs something else than a model: {error}", remedy="sign the bundle again"
        ) from error
    if not digest or digest != bundle.sha256:
        raise IntegrityError(
            f"{bundle.path} was changed after it was signed: its manifest is not the signed one",
            remedy="copy the bundle again from where it was signed, or sign the changed one",
        )


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder but the signature, by relative name."""
    return {
        file.relative_to(folder).as_posix(): sha256_of(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / SIGNATURE
    }
