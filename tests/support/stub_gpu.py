"""A GPU of stubs: a real ``onnxruntime-gpu`` wheel loads its CUDA provider on a CPU machine.

    stubs = build_stubs(folder)
    answer = stubs.run("import onnxruntime; ...")

The provider creates sessions, places nodes, inserts copies, records and replays graphs. Kernels
compute nothing, so results mean nothing. Each program is a process of its own, because the stubs
cannot be unloaded.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import ROOT

SOURCE = Path(__file__).with_suffix(".c")
_TOOLS = ("gcc", "nm", "readelf")
# The stubs cannot be unloaded in order: the program ends without its destructors.
_END = "\nimport os, sys; sys.stdout.flush(); sys.stderr.flush(); os._exit(0)\n"
# Loading the wheels' own libraries, which the stubs stand for, takes a second.
_NO_WHEELS = "import onnxruntime; onnxruntime.preload_dlls = lambda: None\n"


def provider_of_wheel() -> Path:
    """The CUDA provider of the installed ONNX Runtime; skips the test where there is none."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing or sys.platform != "linux":
        pytest.skip(f"a stub GPU needs Linux and {', '.join(_TOOLS)}")
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    provider = Path(spec.origin).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not provider.is_file():
        pytest.skip("the installed ONNX Runtime has no CUDA provider (it is not onnxruntime-gpu)")
    return provider


@dataclass(frozen=True)
class StubGpu:
    """Stub libraries.

    Attributes:
        shim: Libraries to load first; they have every function that the provider wants.
        driver: Folder with ``libcuda.so.1`` alone.
        libraries: Folder with the CUDA libraries that the provider names.
    """

    shim: tuple[Path, Path]
    driver: Path
    libraries: Path

    def run(self, code: str, *, libraries: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs Python with the stub GPU.

        Args:
            code: The program.
            libraries: Whether the loader finds the CUDA libraries; false: the driver alone, so that
                the program must find those of the wheels.
        """
        folders = [self.driver, *([self.libraries] if libraries else [])]
        return subprocess.run(
            [sys.executable, "-c", (_NO_WHEELS if libraries else "") + code + _END],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=self.environment(folders),
        )

    def environment(self, folders: list[Path]) -> dict[str, str]:
        """The variables of a process that has the stub GPU."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": ":".join(str(s) for s in self.shim),
            "LD_LIBRARY_PATH": ":".join(str(f) for f in folders),
            "OMP_NUM_THREADS": "1",
        }


def build_stubs(folder: Path) -> StubGpu:
    """Compiles the stubs that the installed provider needs."""
    provider = provider_of_wheel()
    listed = _output("nm", "-D", "--undefined-only", str(provider))
    # The driver's functions have no version; those of the other libraries have their library's.
    wanted = set(re.findall(r" U (\w+)@+lib(?:cu|nvrtc)\w*\.so\.\d+", listed))
    wanted |= set(re.findall(r" U (cu[A-Z]\w+)\n", listed))
    # cuDNN is opened by name when the provider starts: its functions are texts in the file.
    with provider.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        cudnn = {name.decode() for name in re.findall(rb"cudnn[A-Z]\w+(?=\0)", data)}
    shim = folder / "libshim.so", folder / "libcudnn.so.9"
    stubs = StubGpu(shim, folder / "driver", folder / "libraries")
    stubs.driver.mkdir()
    stubs.libraries.mkdir()
    _compile(shim[0], SOURCE, _others(folder / "cuda.c", wanted))
    _compile(shim[1], SOURCE, _others(folder / "cudnn.c", cudnn))
    _compile(stubs.driver / "libcuda.so.1", SOURCE)
    dynamic = _output("readelf", "-d", str(provider))
    for name in re.findall(r"NEEDED.*\[(lib(?:cu|nvrtc)[^\]]*)\]", dynamic):
        if name != "libcuda.so.1":
            _empty(stubs.libraries / name)
    return stubs


def _others(file: Path, names: set[str]) -> Path:
    """A source with those of the functions that ``stub_gpu.c`` lacks; they return 0."""
    written = set(re.findall(r"\b(\w+)\(", SOURCE.read_text(encoding="utf-8")))
    file.write_text("".join(f"int {n}() {{ return 0; }}\n" for n in sorted(names - written)))
    return file


def _empty(library: Path) -> None:
    """A library that has the version its users ask for; the functions are the shim's."""
    source, versions = library.with_suffix(".c"), library.with_suffix(".map")
    source.write_text("int stub(void) { return 0; }\n")
    versions.write_text(f"{library.name} {{ global: *; }};\n")
    _compile(library, source, f"-Wl,--version-script={versions}")


def _compile(library: Path, *arguments: Path | str) -> None:
    name = f"-Wl,-soname,{library.name}"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", name, "-o", library, *arguments], check=True, timeout=60
    )


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
