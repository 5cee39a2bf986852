"""Signatures of bundles: what was signed opens, whatever was changed is refused, offline."""

from __future__ import annotations

import base64
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
from signed_bundles import REHASHED, envelope_changes, rehashed, written

from trocar.contract.bundle import MANIFEST, open_bundle
from trocar.contract.errors import BundleError, ConfigError, IntegrityError, OutputExistsError
from trocar.contract.signatures.keys import read_chain, read_private_key
from trocar.contract.signatures.signed_bundle import sign_bundle, verify_bundle
from trocar.contract.signatures.statement import SIGNATURE, pre_authentication
from trocar.runtime.session import Session

pytest.importorskip("cryptography", reason="cryptography is not installed (extra signing)")
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

NOW = datetime.datetime(2026, 1, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle, its keys, and another's."""
    root = tmp_path_factory.mktemp("signed")
    tiny_bundle.make_tiny_bundle(root / "m.trocar", height=32, width=40)
    private, _ = written(root, "ours", ec.generate_private_key(ec.SECP256R1()))
    written(root, "theirs", ec.generate_private_key(ec.SECP256R1()))
    sign_bundle(root / "m.trocar", read_private_key(private, None))
    return root


@pytest.fixture
def signed(folder: Path, tmp_path: Path) -> Path:
    """A copy of the signed bundle."""
    return Path(shutil.copytree(folder / "m.trocar", tmp_path / "m.trocar"))


def refused(bundle: Path, trust: Path) -> str:
    """The message with which a session refuses a bundle."""
    with pytest.raises((IntegrityError, BundleError)) as caught:
        Session.open(bundle, trust=trust)
    assert caught.value.remedy
    return caught.value.message


def test_a_signed_bundle_opens_and_others_do_not(signed: Path, folder: Path) -> None:
    with Session.open(signed, trust=folder / "ours.pub", threads=1) as session:
        assert session.golden
    assert "was not signed with the key of" in refused(signed, folder / "theirs.pub")
    with pytest.raises(BundleError, match="a bare model, which cannot be signed"):
        Session.open(signed / "model.onnx", trust=folder / "ours.pub")
    (signed / SIGNATURE).unlink()
    assert "is not signed" in refused(signed, folder / "ours.pub")
    with Session.open(signed, threads=1):
        pass


@pytest.mark.parametrize("name", REHASHED)
def test_a_changed_bundle_with_new_hashes_is_refused(name: str, signed: Path, folder: Path) -> None:
    rehashed(signed, **REHASHED[name])
    open_bundle(signed)
    assert "changed after it was signed" in refused(signed, folder / "ours.pub")


def test_an_equal_bundle_may_be_written_again(signed: Path, folder: Path) -> None:
    """White space of the manifest is not signed: its meaning is."""
    document = json.loads((signed / MANIFEST).read_text())
    (signed / MANIFEST).write_text(json.dumps(document, indent=3, sort_keys=True))
    with Session.open(signed, trust=folder / "ours.pub", threads=1):
        pass


def test_every_change_of_the_signature_is_refused(signed: Path, folder: Path) -> None:
    original = (signed / SIGNATURE).read_text()
    bundle, trust = open_bundle(signed), folder / "ours.pub"
    changes = envelope_changes()
    assert len(changes) >= 38
    for name, change in changes.items():
        document = json.loads(original)
        change(document)
        (signed / SIGNATURE).write_text(json.dumps(document))
        with pytest.raises(IntegrityError):
            pytest.fail(f"{name} was accepted: {verify_bundle(bundle, trust)}")
    for text in ("", "{", "[]", "{}", "[" * 10_000, "x" * (5 << 20)):
        (signed / SIGNATURE).write_text(text)
        with pytest.raises(IntegrityError, match="no signature of a model"):
            verify_bundle(bundle, trust)
    (signed / SIGNATURE).write_text(original)
    verify_bundle(bundle, trust)


def test_changed_files_are_refused(signed: Path, folder: Path) -> None:
    for name in ("model.onnx", "golden.npz"):
        data = bytearray((signed / name).read_bytes())
        data[len(data) // 2] ^= 1
        (signed / name).write_bytes(data)
        refused(signed, folder / "ours.pub")


def test_a_signature_of_another_bundle_or_another_signer_is_refused(
    signed: Path, folder: Path, tmp_path: Path
) -> None:
    tiny_bundle.make_tiny_bundle(tmp_path / "other.trocar", height=32, width=40, classes=2)
    shutil.copy(signed / SIGNATURE, tmp_path / "other.trocar" / SIGNATURE)
    assert "changed after" in refused(tmp_path / "other.trocar", folder / "ours.pub")
    sign_bundle(signed, read_private_key(folder / "theirs.pem", None), overwrite=True)
    assert "was not signed with" in refused(signed, folder / "ours.pub")
    with pytest.raises(OutputExistsError, match="signed already"):
        sign_bundle(signed, read_private_key(folder / "ours.pem", None))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "P-521", "Ed25519"],
)
def test_other_kinds_of_keys(key: Any, signed: Path, tmp_path: Path) -> None:
    private, public = written(tmp_path, "key", key)
    sign_bundle(signed, read_private_key(private, None), overwrite=True)
    verify_bundle(open_bundle(signed), public)


def certificate(
    name: str, key: Any, issuer: str, issuer_key: Any, *, ca: bool, signs: bool = True
) -> Any:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    usage = x509.KeyUsage(signs and not ca, False, False, False, False, ca, ca, False, False)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(own, critical=False)
        .add_extension(above, critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def pem_file(path: Path, *certificates: Any) -> Path:
    path.write_bytes(b"".join(c.public_bytes(pem.Encoding.PEM) for c in certificates))
    return path


def test_certificates_lead_to_a_trusted_one(signed: Path, folder: Path, tmp_path: Path) -> None:
    root_key, middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = certificate("root", root_key, "root", root_key, ca=True)
    middle = certificate("middle", middle_key, "root", root_key, ca=True)
    signer = certificate("signer", key, "middle", middle_key, ca=False)
    other = certificate("root", key, "root", key, ca=True)
    trust = {
        name: pem_file(tmp_path / f"{name}.crt", value)
        for name, value in (("root", root), ("middle", middle), ("signer", signer), ("no", other))
    }
    private, public = written(tmp_path, "signer", key)
    chain = read_chain(pem_file(tmp_path / "chain.crt", signer, middle))
    loaded = read_private_key(private, None)
    sign_bundle(signed, loaded, chain=chain, overwrite=True)
    bundle = open_bundle(signed)
    for name in ("root", "middle", "signer"):
        verify_bundle(bundle, trust[name])
    verify_bundle(bundle, public)
    with pytest.raises(IntegrityError, match="does not lead to one in"):
        verify_bundle(bundle, trust["no"])
    sign_bundle(signed, loaded, chain=chain[:1], overwrite=True)
    with pytest.raises(IntegrityError, match="does not lead to one in"):
        verify_bundle(bundle, trust["root"])
    useless = certificate("signer", key, "root", root_key, ca=False, signs=False)
    sign_bundle(signed, loaded, chain=[useless], overwrite=True)
    with pytest.raises(IntegrityError, match="not for digital signatures"):
        verify_bundle(bundle, trust["root"])
    sign_bundle(signed, loaded, overwrite=True)
    with pytest.raises(IntegrityError, match="signed with a bare key"):
        verify_bundle(bundle, trust["root"])
    with pytest.raises(ConfigError, match="of another key"):
        sign_bundle(signed, loaded, chain=[root], overwrite=True)


def test_files_that_are_no_keys(signed: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    locked = tmp_path / "locked.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(
        key.private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"word")
        )
    )
    read_private_key(locked, "word")
    curve, _ = written(tmp_path, "curve", ec.generate_private_key(ec.SECP256K1()))
    for path, password, words in (
        (tmp_path / "text", None, "cannot be read as a private key"),
        (tmp_path / "nowhere", None, "cannot read"),
        (locked, None, "cannot be read as a private key"),
        (locked, "other", "cannot be read as a private key"),
        (curve, None, "of kind secp256k1"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_private_key(path, password)
    for path in (tmp_path / "text", folder / "ours.pem"):
        with pytest.raises(ConfigError, match="cannot be read as a public key"):
            verify_bundle(open_bundle(signed), path)


def test_a_signature_of_another_tool_is_understood(signed: Path, folder: Path) -> None:
    """`model_signing` lists the files and knows no canonical hash."""
    document = json.loads((signed / SIGNATURE).read_text())
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    del statement["predicate"]["trocar"]
    payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    key = read_private_key(folder / "ours.pem", None)
    signature = key.sign(pre_authentication(payload), ec.ECDSA(hashes.SHA256()))
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (signed / SIGNATURE).write_text(json.dumps(document))
    verify_bundle(open_bundle(signed), folder / "ours.pub")
    # Another manifest of the same meaning has other bytes, which that tool signed.
    text = (signed / MANIFEST).read_text()
    (signed / MANIFEST).write_text(text + " ")
    with pytest.raises(IntegrityError, match="changed after it was signed"):
        verify_bundle(open_bundle(signed), folder / "ours.pub")


def test_model_signing_verifies_what_was_signed(signed: Path, folder: Path) -> None:
    theirs = pytest.importorskip("model_signing", reason="pip install model-signing")
    config = theirs.verifying.Config().use_elliptic_key_verifier(public_key=folder / "ours.pub")
    config.verify(signed, signed / SIGNATURE)
    (signed / "golden.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"golden\.npz"):
        config.verify(signed, signed / SIGNATURE)
