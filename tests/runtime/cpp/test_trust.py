"""Both languages judge signed, tampered and unsigned bundles alike, with one status code."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from signed_bundles import HARMLESS, TAMPERINGS, written

from trocar.contract.errors import TrocarError
from trocar.contract.signatures.keys import read_private_key
from trocar.contract.signatures.signed_bundle import sign_bundle
from trocar.contract.signatures.statement import SIGNATURE
from trocar.runtime.session import Session

pytest.importorskip("cryptography", reason="cryptography is not installed (extra signing)")
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

Codes = Callable[[Path, Path], tuple[int, int]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of every kind, and a bundle that each signed: ``NAME.pub``, ``NAME.trocar``."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def signed(keys: Path, tiny_bundle: Path) -> Path:
    """A bundle signed with Ed25519."""
    private, _ = written(keys, "ours", ed25519.Ed25519PrivateKey.generate())
    written(keys, "theirs", ed25519.Ed25519PrivateKey.generate())
    bundle = Path(shutil.copytree(tiny_bundle, keys / "m.trocar"))
    sign_bundle(bundle, read_private_key(private, None))
    return bundle


@pytest.fixture
def codes(cpp: ModuleType, library: str, onnxruntime_library: str) -> Codes:
    """Status of a bundle under a trust, in Python and in C."""

    def judged(bundle: Path, trust: Path) -> tuple[int, int]:
        python = c = 0
        try:
            Session.open(bundle, threads=1, trust=trust).close()
        except TrocarError as error:
            python = error.code
        options = {"library": onnxruntime_library, "threads": 1, "trust": str(trust)}
        try:
            cpp.Session(library, str(bundle), **options).close()
        except cpp.TrocarFailure as error:
            c = error.code
        return python, c

    return judged


@pytest.mark.parametrize("name", [*HARMLESS, *TAMPERINGS])
def test_both_refuse_what_was_tampered_with(
    name: str, signed: Path, keys: Path, codes: Codes, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(signed, tmp_path / "m.trocar"))
    {**HARMLESS, **TAMPERINGS}[name](bundle)
    expected = 0 if name in HARMLESS else 5
    assert codes(bundle, keys / "ours.pub") == (expected, expected)


def test_other_signers_and_bare_models(signed: Path, keys: Path, codes: Codes) -> None:
    assert codes(signed, keys / "theirs.pub") == (5, 5)
    assert codes(signed / "model.onnx", keys / "ours.pub") == (4, 4)


def test_every_kind_of_key(tiny_bundle: Path, codes: Codes, tmp_path: Path) -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        private, public = written(tmp_path, curve.name, ec.generate_private_key(curve))
        bundle = Path(shutil.copytree(tiny_bundle, tmp_path / f"{curve.name}.trocar"))
        sign_bundle(bundle, read_private_key(private, None))
        assert codes(bundle, public) == (0, 0)
        TAMPERINGS["sig byte 29"](bundle)
        assert codes(bundle, public) == (5, 5)


def test_files_that_are_no_public_keys(signed: Path, keys: Path, codes: Codes) -> None:
    (keys / "text").write_text("no key")
    _, curve = written(keys, "curve", ec.generate_private_key(ec.SECP256K1()))
    _, other = written(keys, "rsa", rsa.generate_private_key(65537, 1024))
    for trust in (keys / "text", keys / "nowhere", keys, keys / "ours.pem", curve, other):
        assert codes(signed, trust) == (2, 2), trust


LOAD = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
import trocar_ctypes as cpp
bundle, library, onnxruntime, trust = sys.argv[2:]
options = {"trust": trust} if trust else {}
try:
    cpp.Session(library, bundle, library=onnxruntime, threads=1, **options)
except cpp.TrocarFailure as error:
    print(error.code, error)
print("loaded" if "libcrypto" in open("/proc/self/maps").read() else "not loaded")
"""


def test_libcrypto_is_loaded_only_for_trust_and_its_absence_is_said(
    signed: Path, keys: Path, library: str, cpp: ModuleType, environment: dict[str, str],
    onnxruntime_library: str, tmp_path: Path,
) -> None:  # fmt: skip
    import sys

    def said(trust: str, **more: str) -> str:
        arguments = [str(Path(str(cpp.__file__)).parent), str(signed), library, onnxruntime_library]
        # -S: no package of this environment loads the library first.
        done = subprocess.run(
            [sys.executable, "-c", LOAD, *arguments, trust],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert said("") == "not loaded\n"
    assert said(str(keys / "ours.pub")) == "loaded\n"
    missing = said(str(keys / "ours.pub"), TROCAR_LIBCRYPTO=str(tmp_path / "libcrypto.so.3"))
    assert missing.startswith("10 a signature is to be verified, and OpenSSL's libcrypto cannot")
    assert "apt-get install libssl3" in missing
    other = said(str(keys / "ours.pub"), TROCAR_LIBCRYPTO="libc.so.6")
    assert "libc.so.6 has no BIO_new_mem_buf, so it is not OpenSSL 3 or newer" in other
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True)
    assert "libcrypto" not in needed.stdout
    assert (signed / SIGNATURE).is_file()
