"""The two device compilers: ``nvcc`` where there is one, else NVRTC from the wheel torch brings.

    find_compiler().compile(source, "sm_90")  # Compiled(binary, log)

Neither needs a GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trocar.contract.errors import BackendError

KERNELS = Path(__file__).parent / "kernels"

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")
"""Real architectures that the kernels are compiled for; ``compute_75`` gives PTX for any."""

Defines = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Compiled:
    """A cubin (or PTX) and what the assembler said of registers and spills."""

    binary: bytes
    log: str


@dataclass(frozen=True)
class Usage:
    """What one kernel of a binary takes of the device."""

    kernel: str
    registers: int
    spilled: int
    """Bytes stored and loaded by spills."""


class Compiler(Protocol):
    """Something that turns a kernel source into a binary for one architecture."""

    name: str
    """With its version: part of the cache's key."""

    def compile(self, file: str, defines: Defines, architecture: str) -> Compiled:
        """Compile for ``sm_XX`` to a cubin, for ``compute_XX`` to PTX."""
        ...


class Nvcc:
    """The compiler of an installed CUDA toolkit."""

    def __init__(self, program: str) -> None:
        self._program = program
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        self.name = f"nvcc {said.stdout.strip().splitlines()[-1]}"

    def compile(self, file: str, defines: Defines, architecture: str) -> Compiled:
        """See ``Compiler``."""
        kind = "-cubin" if architecture.startswith("sm_") else "-ptx"
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "kernel"
            flags = [f"-D{name}={value}" for name, value in defines]
            command = [self._program, kind, f"-arch={architecture}", "-std=c++17", "-Xptxas=-v"]
            done = subprocess.run(
                [*command, *flags, str(KERNELS / file), "-o", str(target)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise _refused(file, architecture, self.name, done.stderr)
            return Compiled(target.read_bytes(), done.stderr)


class Nvrtc:
    """The compiler in a library; it needs no toolkit and no host compiler."""

    def __init__(self, library: Path) -> None:
        for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
            # NVRTC opens this by name alone, and finds it only where it is loaded already.
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._lib = ctypes.CDLL(str(library))
        self._lib.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.name = f"nvrtc {major.value}.{minor.value}"

    def compile(self, file: str, defines: Defines, architecture: str) -> Compiled:
        """See ``Compiler``."""
        program = ctypes.c_void_p()
        self._check(
            self._lib.nvrtcCreateProgram(
                ctypes.byref(program),
                (KERNELS / file).read_bytes(),
                file.encode(),
                ctypes.c_int(0),
                None,
                None,
            )
        )
        options = [
            f"--gpu-architecture={architecture}",
            "--std=c++17",
            f"--include-path={KERNELS}",
            "--ptxas-options=-v",
            *(f"-D{name}={value}" for name, value in defines),
        ]
        if not architecture.startswith("sm_"):
            options.remove("--ptxas-options=-v")  # PTX has not met the assembler
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        try:
            failed = self._lib.nvrtcCompileProgram(program, ctypes.c_int(len(options)), array)
            log = self._bytes("ProgramLog", program).decode(errors="replace").rstrip("\0")
            if failed:
                raise _refused(file, architecture, self.name, log)
            kind = "CUBIN" if architecture.startswith("sm_") else "PTX"
            return Compiled(self._bytes(kind, program), log)
        finally:
            self._lib.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, what: str, program: Any) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._lib, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, status: int) -> None:
        if status:
            raise BackendError(
                f"NVRTC failed: {self._lib.nvrtcGetErrorString(status).decode()}",
                remedy="reinstall the package nvidia-cuda-nvrtc that torch depends on",
            )


def find_compiler() -> Compiler:
    """Return ``nvcc`` where it is on the path, else NVRTC.

    Raises:
        BackendError: There is neither.
    """
    program = shutil.which("nvcc")
    if program is not None:
        return Nvcc(program)
    library = find_nvrtc()
    if library is not None:
        return Nvrtc(library)
    raise BackendError(
        "there is no compiler for the CUDA kernels: no nvcc on the path and no NVRTC library",
        remedy="install a CUDA build of torch, which brings NVRTC, or the CUDA toolkit",
    )


def find_nvrtc() -> Path | None:
    """Find the NVRTC library among the NVIDIA wheels, without importing torch."""
    names = ("bin/**/nvrtc64_*.dll",) if sys.platform == "win32" else ("lib/libnvrtc.so.*",)
    for package in ("nvidia", "torch"):
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            for name in names:
                found = [
                    path
                    for folder in ("*", ".")
                    for path in sorted(Path(place).glob(f"{folder}/{name}"))
                    if "alt" not in path.name and "builtins" not in path.name
                ]
                if found:
                    return found[-1]
    return None


def usages(log: str) -> list[Usage]:
    """Read registers and spills of every kernel out of the assembler's words."""
    result = []
    for block in re.split(r"Compiling entry function ", log)[1:]:
        kernel = re.match(r"'(\w+)'", block)
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", block)
        registers = re.search(r"Used (\d+) registers", block)
        if kernel and spills and registers:
            spilled = int(spills[1]) + int(spills[2])
            result.append(Usage(kernel[1], int(registers[1]), spilled))
    return result


def _refused(file: str, architecture: str, compiler: str, log: str) -> BackendError:
    return BackendError(
        f"{compiler} does not compile {file} for {architecture}:\n{log.strip()}",
        remedy="the kernels need CUDA 12 or later and an architecture from sm_75 up",
    )
