"""Builds libtrocar once for the tests that compare it with Python."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import pytest
from photo_fixtures import few_bundle, photo_folder, photo_kit, plain_bundle, tail_bundle
from places import ROOT

from trocar.runtime.session import Session

__all__ = ["few_bundle", "photo_folder", "photo_kit", "plain_bundle", "tail_bundle"]

CPP = ROOT / "runtime" / "cpp"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build() -> Path:
    """The Release build folder; made by `runtime/cpp/test.sh`, or here where it is not there."""
    folder = CPP / "build"
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("no cmake or no g++ here")
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = ["cmake", "-S", str(CPP), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
        for command in (configure, ["cmake", "--build", str(folder), "-j", "2"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode and "No header of ONNX Runtime" in done.stderr:
                pytest.skip("the header of ONNX Runtime is not to be had here")
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def library(build: Path) -> str:
    return str(build / "libtrocar.so")


@pytest.fixture(scope="session")
def onnxruntime_library() -> str:
    capi = Path(onnxruntime.__file__).parent / "capi"
    return str(next(iter(sorted(capi.glob("libonnxruntime.so*")))))


@pytest.fixture(scope="session")
def cpp(build: Path) -> ModuleType:
    """The ctypes example: these tests show at once that it works."""
    return _load(CPP / "examples" / "trocar_ctypes.py")


@pytest.fixture(scope="session")
def environment(onnxruntime_library: str) -> dict[str, str]:
    """For programs that open sessions."""
    return {**os.environ, "TROCAR_ONNXRUNTIME": onnxruntime_library}


@pytest.fixture(scope="module")
def python(bundle: Path) -> Iterator[Session]:
    """The module's own fixture ``bundle``, in Python."""
    with Session.open(bundle, threads=1) as session:
        yield session


@pytest.fixture(scope="module")
def native(cpp: ModuleType, library: str, bundle: Path, onnxruntime_library: str) -> Iterator[Any]:
    """The same in C."""
    session = cpp.Session(library, str(bundle), library=onnxruntime_library, threads=1)
    yield session
    session.close()
