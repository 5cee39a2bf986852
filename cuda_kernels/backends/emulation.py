"""Runs the kernels on the CPU, compiled by the host compiler with ``kernels/host/shim.h``.

    HostLauncher(folder=Path("scratch"), tuning=Tuning(threads=64))  # for KernelBackend

For tests and for writing kernels without a GPU; it is slow. Each source with its choices is one
library.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.backends.kernels import Int64, Launch, Source
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.compilation.sources import KERNELS, included_files

COMMON_FLAGS = (
    "-std=c++20",
    "-ffp-contract=off",
    "-fno-gnu-unique",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
)


def compile_on_host(
    source: Source, target: Path, flags: Sequence[str], *, kernels: Path = KERNELS
) -> None:
    """Compile a kernel source with ``g++``; the target appears only if that succeeds.

    Args:
        source: The source and its compile-time choices.
        target: A library if the flags contain ``-shared``, else a program that replays launches.
        flags: Further flags of the compiler.
        kernels: Folder of the source.

    Raises:
        BackendError: ``g++`` is not installed or does not compile the source.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise BackendError(
            "the emulation compiles the kernels with g++, which is not installed",
            remedy="install a C++20 compiler",
        )
    defines = [f"-D{name}={value}" for name, value in source.defines]
    handle, part = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    command = [compiler, *COMMON_FLAGS, *flags, *defines, "-I", str(kernels)]
    main = os.devnull if "-shared" in flags else str(kernels / "host" / "replay.cpp")
    command += ["-include", str(kernels / source.file), "-x", "c++", main]
    completed = subprocess.run([*command, "-o", part], capture_output=True, text=True, check=False)
    if completed.returncode:
        Path(part).unlink()
        raise BackendError(
            f"g++ does not compile {source.file}:\n{completed.stderr}",
            remedy="the kernels need C++20: g++ 11 or later",
        )
    Path(part).chmod(0o755)
    os.replace(part, target)


@dataclass
class HostLauncher:
    """Runs launches in this process; the threads of a block are fibers.

    If ``record`` is a list, every launch is appended to it with its buffers before and after, so
    that ``replay.cpp`` can repeat it under a sanitizer.
    """

    folder: Path
    tuning: Tuning = field(default_factory=Tuning)
    backwards: bool = False
    """Run the threads of each block in reverse order."""
    kernels: Path = KERNELS
    record: list[tuple[Source, bytes]] | None = None
    _libraries: dict[Source, ctypes.CDLL] = field(default_factory=dict)

    def run(self, device: torch.device, launches: Sequence[Launch]) -> None:
        """Run the launches one after another."""
        for launch in launches:
            before = None if self.record is None else _packed_buffers(launch)
            arguments, owners = _pointers(launch)
            status = self._library(launch.source).emulate(
                launch.kernel.encode(),
                (ctypes.c_uint * 3)(*launch.shape.grid),
                ctypes.c_uint(launch.shape.threads),
                ctypes.c_size_t(launch.shape.shared),
                ctypes.c_int(self.backwards),
                arguments,
            )
            del owners
            if status:
                raise BackendError(
                    f"{launch.source.file} has no kernel {launch.kernel}",
                    remedy="export it with EXPORT(name)",
                )
            if self.record is not None and before is not None:
                self.record.append((launch.source, _packed(launch, before)))

    def _library(self, source: Source) -> ctypes.CDLL:
        if source not in self._libraries:
            digest = hashlib.sha256(repr(source).encode())
            for path in included_files(self.kernels / source.file, host=True):
                digest.update(path.read_bytes())
            target = self.folder / f"{source.file}-{digest.hexdigest()[:16]}.so"
            if not target.exists():
                compile_on_host(source, target, ["-O1", "-fPIC", "-shared"], kernels=self.kernels)
            self._libraries[source] = ctypes.CDLL(str(target))
        return self._libraries[source]


def _pointers(launch: Launch) -> tuple[ctypes.Array[ctypes.c_void_p], list[object]]:
    """The array of pointers that ``emulate`` takes, and the objects that must stay alive."""
    owners: list[object] = []
    for argument in launch.arguments:
        if argument is None:
            owners.append(ctypes.c_void_p(None))
        elif isinstance(argument, Tensor):
            owners.append(ctypes.c_void_p(argument.data_ptr()))
        elif isinstance(argument, Int64):
            owners.append(ctypes.c_longlong(argument))
        else:
            owners.append(ctypes.c_int(argument))
    addresses = [ctypes.addressof(value) for value in owners]  # type: ignore[arg-type]
    return (ctypes.c_void_p * len(owners))(*addresses), owners


def _packed_buffers(launch: Launch) -> list[bytes]:
    return [_bytes(a) if isinstance(a, Tensor) else b"" for a in launch.arguments]


def _packed(launch: Launch, before: list[bytes]) -> bytes:
    """The record that ``replay.cpp`` reads: a header, then each argument."""
    name = launch.kernel.encode()
    parts = [struct.pack("<I", len(name)), name]
    grid, shape = launch.shape.grid, launch.shape
    parts.append(struct.pack("<3IIQI", *grid, shape.threads, shape.shared, len(launch.arguments)))
    for place, (argument, content) in enumerate(zip(launch.arguments, before, strict=True)):
        if isinstance(argument, Tensor):
            kind = 3 if place in launch.scratch else 2
            parts.append(struct.pack("<IQ", kind, len(content)) + content + _bytes(argument))
        elif argument is None:
            parts.append(struct.pack("<IQ", 1, 0))
        else:
            parts.append(struct.pack("<IQ", 0, 8) + struct.pack("<q", argument))
    return b"".join(parts)


def _bytes(tensor: Tensor) -> bytes:
    if not tensor.is_contiguous():  # Rows that lie apart: with what lies between them.
        sides = zip(tensor.shape, tensor.stride(), strict=True)
        span = 1 + sum((side - 1) * step for side, step in sides)
        tensor = tensor.as_strided((span,), (1,))
    return tensor.view(-1).view(torch.uint8).numpy().tobytes()
