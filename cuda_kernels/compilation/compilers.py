"""The two device compilers: NVRTC from the wheel that torch needs, else nvcc.

    find_compiler().compile("hard.cu", (("LABEL", "int"),), "sm_90")  # Compiled(binary, log)

Neither needs a GPU. The variable ``TROCAR_CUDA_COMPILER=nvcc`` asks for nvcc.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.compilation.sources import KERNELS, Defines


@dataclass(frozen=True)
class Compiled:
    """A cubin or PTX, and the assembler's log with registers and spills."""

    binary: bytes
    log: str


@dataclass(frozen=True)
class KernelUsage:
    """Registers and spills of one kernel of a binary."""

    kernel: str
    registers: int
    """Per thread."""
    spill_stores: int
    """Bytes per thread."""
    spill_loads: int
    """Bytes per thread."""


class Compiler(Protocol):
    """Compiles a kernel source to a binary for one architecture."""

    name: str
    """Name and version; part of the cache's key."""

    def architectures(self) -> tuple[int, ...]:
        """Compute capabilities that it knows, e.g. 75 and 90."""
        ...

    def compile(self, file: str, defines: Defines, architecture: str) -> Compiled:
        """Compile one source.

        Args:
            file: Name of a source in ``KERNELS``.
            defines: Compile-time choices.
            architecture: ``sm_XX`` gives a cubin, ``compute_XX`` gives PTX.

        Raises:
            BackendError: The compiler refuses the source or the architecture.
        """
        ...


class Nvcc:
    """The compiler of an installed CUDA toolkit."""

    def __init__(self, program: str) -> None:
        self._program = program
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        self.name = f"nvcc {version.stdout.strip().splitlines()[-1]}"

    def architectures(self) -> tuple[int, ...]:
        """See ``Compiler``."""
        listed = subprocess.run(
            [self._program, "--list-gpu-arch"], capture_output=True, text=True, check=True
        )
        return tuple(int(number) for number in re.findall(r"compute_(\d+)\b", listed.stdout))

    def compile(self, file: str, defines: Defines, architecture: str) -> Compiled:
        """See ``Compiler``."""
        kind = "-cubin" if architecture.startswith("sm_") else "-ptx"
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "kernel"
            flags = [f"-D{name}={value}" for name, value in defines]
            command = [self._program, kind, f"-arch={architecture}", "-std=c++17", "-Xptxas=-v"]
            completed = subprocess.run(
                [*command, *flags, str(KERNELS / file), "-o", str(target)],
                capture_output=True,
                text=True,
                check=False,
            )
            if completed.returncode:
                raise _compile_error(file, architecture, self.name, completed.stderr)
            return Compiled(target.read_bytes(), completed.stderr)


class Nvrtc:
    """The compiler library of CUDA; it needs neither a toolkit nor a host compiler."""

    def __init__(self, library: Path) -> None:
        for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
            # NVRTC opens this library by its bare name, which works only if it is loaded already.
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._lib = ctypes.CDLL(str(library))
        self._lib.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.name = f"nvrtc {major.value}.{minor.value}"

    def architectures(self) -> tuple[int, ...]:
        """See ``Compiler``."""
        count = ctypes.c_int()
        self._check(self._lib.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        numbers = (ctypes.c_int * count.value)()
        self._check(self._lib.nvrtcGetSupportedArchs(numbers))
        return tuple(numbers)

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
            options.remove("--ptxas-options=-v")  # PTX does not pass through the assembler
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        try:
            failed = self._lib.nvrtcCompileProgram(program, ctypes.c_int(len(options)), array)
            log = self._bytes("ProgramLog", program).decode(errors="replace").rstrip("\0")
            if failed:
                raise _compile_error(file, architecture, self.name, log)
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


def find_compiler(wanted: str | None = None) -> Compiler:
    """Return NVRTC if it is installed, else nvcc; nvcc where ``TROCAR_CUDA_COMPILER`` asks for it.

    NVRTC comes with torch and fits its CUDA; an nvcc on the path may be of any age.

    Args:
        wanted: ``nvrtc`` or ``nvcc``; None is the variable.

    Raises:
        BackendError: Neither is installed, or not the one that was asked for.
    """
    if wanted is None:
        wanted = os.environ.get("TROCAR_CUDA_COMPILER", "")
    if wanted not in ("", "nvrtc", "nvcc"):
        raise BackendError(
            f"TROCAR_CUDA_COMPILER is {wanted!r}, expected nvrtc or nvcc",
            remedy="set it to one of these, or unset it",
        )
    library = None if wanted == "nvcc" else find_nvrtc()
    if library is not None:
        return Nvrtc(library)
    program = None if wanted == "nvrtc" else shutil.which("nvcc")
    if program is not None:
        return Nvcc(program)
    raise BackendError(
        "there is no compiler for the CUDA kernels: no nvcc on the path and no NVRTC library",
        remedy="install a CUDA build of torch, which brings NVRTC, or the CUDA toolkit",
    )


def find_nvrtc() -> Path | None:
    """Find the NVRTC library among the NVIDIA wheels, without importing torch."""
    names = ("bin/**/nvrtc64_*.dll",) if sys.platform == "win32" else ("lib/libnvrtc.so.*",)
    for package in ("nvidia", "torch"):
        spec = importlib.util.find_spec(package)
        for location in (spec and spec.submodule_search_locations) or ():
            for name in names:
                matches = [
                    path
                    for folder in ("*", ".")
                    for path in sorted(Path(location).glob(f"{folder}/{name}"))
                    if "alt" not in path.name and "builtins" not in path.name
                ]
                if matches:
                    return matches[-1]
    return None


def parse_usages(log: str) -> list[KernelUsage]:
    """Read registers and spills of every kernel from the assembler's log."""
    result = []
    for block in re.split(r"Compiling entry function ", log)[1:]:
        kernel = re.match(r"'(\w+)'", block)
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", block)
        registers = re.search(r"Used (\d+) registers", block)
        if kernel and spills and registers:
            result.append(KernelUsage(kernel[1], int(registers[1]), int(spills[1]), int(spills[2])))
    return result


def _compile_error(file: str, architecture: str, compiler: str, log: str) -> BackendError:
    return BackendError(
        f"{compiler} does not compile {file} for {architecture}:\n{log.strip()}",
        remedy="the kernels need CUDA 12 or later and an architecture from sm_75 up",
    )
