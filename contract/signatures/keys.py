"""Keys and certificates in PEM files: ECDSA on P-256, P-384 and P-521, and Ed25519.

key = read_private_key(Path("key.pem"), password=None)
trust = read_trust(Path("key.pub"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.errors import ConfigError, IntegrityError, MissingExtraError
from trocar.contract.text.words import first_line

MAX_CHAIN = 8

_KEY_REMEDY = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What signatures are verified with: public keys, or certificates that chains must lead to.

    Attributes:
        path: The PEM file.
        keys: Public keys.
        certificates: Trusted certificates.
    """

    path: Path
    keys: tuple[Any, ...] = ()
    certificates: tuple[Any, ...] = ()


def read_private_key(path: Path, password: str | None) -> Any:
    """Reads a private key.

    Raises:
        ConfigError: It is missing, encrypted with another password, or of another kind.
        MissingExtraError: `cryptography` is not installed.
    """
    serialization = _library("cryptography.hazmat.primitives.serialization")
    secret = None if password is None else password.encode()
    try:
        key = serialization.load_pem_private_key(_bytes_of(path), secret)
    except (ValueError, TypeError, _unsupported()) as error:
        raise ConfigError(
            f"{path} cannot be read as a private key: {first_line(error)}",
            remedy="give its password in TROCAR_KEY_PASSWORD if it has one; " + _KEY_REMEDY,
        ) from error
    _check_kind(key.public_key(), path)
    return key


def read_chain(path: Path) -> tuple[Any, ...]:
    """Reads certificates, the signer's first.

    Raises:
        ConfigError: There is none.
        MissingExtraError: `cryptography` is not installed.
    """
    x509 = _library("cryptography.x509")
    try:
        return tuple(x509.load_pem_x509_certificates(_bytes_of(path)))
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read as certificates: {first_line(error)}",
            remedy="name a PEM file with the signer's certificate first, then those above it",
        ) from error


def read_trust(path: Path) -> Trust:
    """Reads what is trusted: a PEM file with a public key, or with certificates.

    Raises:
        ConfigError: It holds neither.
        MissingExtraError: `cryptography` is not installed.
    """
    data = _bytes_of(path)
    if b"BEGIN CERTIFICATE" in data:
        return Trust(path=path, certificates=read_chain(path))
    serialization = _library("cryptography.hazmat.primitives.serialization")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, _unsupported()) as error:
        raise ConfigError(
            f"{path} cannot be read as a public key or certificate: {first_line(error)}",
            remedy="write the public key: openssl pkey -in key.pem -pubout -out key.pub",
        ) from error
    _check_kind(key, path)
    return Trust(path=path, keys=(key,))


def signature_of(key: Any, data: bytes) -> bytes:
    """Signs data; ECDSA hashes it with the function that belongs to the curve."""
    signature: bytes = key.sign(data, *_scheme(key.public_key()))
    return signature


def is_signed_by(key: Any, signature: bytes, data: bytes) -> bool:
    """Whether a public key's owner signed the data."""
    exceptions = _library("cryptography.exceptions")
    try:
        key.verify(signature, data, *_scheme(key))
    except exceptions.InvalidSignature:
        return False
    return True


def trusted_key(chain: Sequence[bytes], trust: Trust) -> Any:
    """The public key of the first certificate of a chain that leads to a trusted one.

    Validity is looked at for the moment from which the first certificate is valid: a signature
    states no time that could be believed.

    Raises:
        IntegrityError: It does not lead to one, or is not for signing.
    """
    x509 = _library("cryptography.x509")
    verification = _library("cryptography.x509.verification")
    try:
        signer, *above = (x509.load_der_x509_certificate(der) for der in chain)
        policy = (
            verification.PolicyBuilder()
            .store(verification.Store(list(trust.certificates)))
            .time(signer.not_valid_before_utc)
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            .max_chain_depth(MAX_CHAIN)
        )
        policy.build_client_verifier().verify(signer, above)
        _check_usage(x509, signer)
        key = signer.public_key()
        _check_kind(key, trust.path)
    except (ValueError, verification.VerificationError, ConfigError) as error:
        raise IntegrityError(
            f"the certificate of the signature does not lead to one in {trust.path}: "
            f"{first_line(error)}",
            remedy="ask who signed the bundle for the certificate of their authority",
        ) from error
    return key


def public_pem(key: Any) -> bytes:
    """A public key as PEM."""
    serialization = _library("cryptography.hazmat.primitives.serialization")
    pem: bytes = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def der_of(certificate: Any) -> bytes:
    """A certificate as DER."""
    serialization = _library("cryptography.hazmat.primitives.serialization")
    der: bytes = certificate.public_bytes(serialization.Encoding.DER)
    return der


def is_ed25519(key: Any) -> bool:
    """Whether a public key is of Ed25519."""
    ed25519 = _library("cryptography.hazmat.primitives.asymmetric.ed25519")
    return isinstance(key, ed25519.Ed25519PublicKey)


def _check_usage(x509: Any, certificate: Any) -> None:
    """Refuses a certificate that is not for digital signatures or code signing."""
    try:
        if certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return
    except x509.ExtensionNotFound:
        pass
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if x509.ExtendedKeyUsageOID.CODE_SIGNING in usage:
            return
    except (x509.ExtensionNotFound, AttributeError):
        pass
    raise ValueError("the certificate is not for digital signatures")


def _scheme(key: Any) -> tuple[Any, ...]:
    if is_ed25519(key):
        return ()
    ec = _library("cryptography.hazmat.primitives.asymmetric.ec")
    hashes = _library("cryptography.hazmat.primitives.hashes")
    by_size = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}
    return (ec.ECDSA(by_size[key.curve.key_size]()),)


def _check_kind(key: Any, path: Path) -> None:
    ec = _library("cryptography.hazmat.primitives.asymmetric.ec")
    is_curve = isinstance(key, ec.EllipticCurvePublicKey)
    if is_ed25519(key) or (is_curve and key.curve.name in ("secp256r1", "secp384r1", "secp521r1")):
        return
    found = key.curve.name if is_curve else type(key).__name__
    raise ConfigError(
        f"{path} holds a key of kind {found}, expected ECDSA on P-256, P-384 or P-521, or Ed25519",
        remedy=_KEY_REMEDY,
    )


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", remedy="name a PEM file that exists"
        ) from error


def _unsupported() -> type[Exception]:
    kind: type[Exception] = _library("cryptography.exceptions").UnsupportedAlgorithm
    return kind


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "signatures need the Python package 'cryptography', which is not installed",
            remedy="pip install 'trocar[signing]'",
        ) from error
