"""The C++ runtime guards the manifest as Python does: same hashes, and no flipped bit opens."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

from trocar.contract.manifest import Manifest

STEP = 41
"""Every so many bits of the manifest are flipped; every one was, once, by hand: 0 of 9,368 open."""


def test_no_flipped_bit_opens_with_another_meaning(
    cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "b.trocar"))
    document = bundle / "manifest.json"
    original = document.read_bytes()
    meant = Manifest.from_json(original)
    codes = set()
    for bit in range(0, 8 * len(original), STEP):
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        document.write_bytes(flipped)
        try:
            cpp.Session(library, str(bundle), library=onnxruntime_library, threads=1).close()
        except cpp.TrocarFailure as error:
            codes.add(error.code)
        else:
            assert Manifest.from_json(bytes(flipped)) == meant, bytes(flipped)
    assert codes >= {4, 5}
