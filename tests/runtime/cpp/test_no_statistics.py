"""libtrocar switches off what ONNX Runtime's own wheels would send."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import trocar_ctypes
library, bundle, onnxruntime = sys.argv[2:]
trocar_ctypes.Session(library, bundle, library=onnxruntime, threads=1).close()
"""


def test_nothing_is_left_on_the_disk(
    library: str, tiny_bundle: Path, onnxruntime_library: str, tmp_path: Path
) -> None:
    from places import ROOT

    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    examples = ROOT / "runtime" / "cpp" / "examples"
    arguments = [str(examples), library, str(tiny_bundle), onnxruntime_library]
    subprocess.run([sys.executable, "-B", "-c", PROGRAM, *arguments], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
