"""Runs the kernels on the CPU: compiled by the host compiler through ``kernels/host_shim.h``.

    KernelEngine("emulated", HostLauncher(folder=Path("scratch")))

For tests and for writing kernels without a GPU; slow. One library for each source and its choices.
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

KERNELS = Path(__file__).parent / "kernels"

COMMON_FLAGS = ("-std=c++20", "-fno-gnu-unique", "-Wall", "-Wextra", "-Wno-unknown-pragmas")


def compile_on_host(
    source: Source, target: Path, flags: Sequence[str], *, kernels: Path = KERNELS
) -> None:
    """Compile a kernel source with the host compiler into the target, whole or not at all.

    Raises:
        BackendError: There is no ``g++``, or it does not accept the source.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise BackendError(
            "the emulation compiles the kernels with g++, which is not there",
            remedy="install a C++20 compiler",
        )
    defines = [f"-D{name}={value}" for name, value in source.defines]
    handle, part = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    command = [compiler, *COMMON_FLAGS, *flags, *defines, "-I", str(kernels)]
    # A program of its own, or a library that this process loads.
    main = () if "-shared" in flags else (str(kernels / "host_replay.cpp"),)
    command += ["-include", str(kernels / source.file), "-x", "c++"]
    command += main or (os.devnull,)
    done = subprocess.run([*command, "-o", part], capture_output=True, text=True, check=False)
    if done.returncode:
        Path(part).unlink()
        raise BackendError(
            f"g++ does not accept {source.file}:\n{done.stderr}",
            remedy="the kernels need C++20: g++ 11 or later",
        )
    Path(part).chmod(0o755)
    os.replace(part, target)


@dataclass
class HostLauncher:
    """Launches by fibers in this process, one library a source.

    With ``record`` set to a list, every launch is appended to it with what it was given and what
    it made, for ``host_replay.cpp`` to repeat under a sanitizer.
    """

    folder: Path
    tuning: Tuning = field(default_factory=Tuning)
    backwards: bool = False
    """Run the threads of each block in the opposite order."""
    kernels: Path = KERNELS
    record: list[tuple[Source, bytes]] | None = None
    _libraries: dict[Source, ctypes.CDLL] = field(default_factory=dict)

    def run(self, device: torch.device, launches: Sequence[Launch]) -> None:
        """Run the launches one after another."""
        for launch in launches:
            before = None if self.record is None else _packed_buffers(launch)
            arguments, keep = _pointers(launch)
            status = self._library(launch.source).emulate(
                launch.kernel.encode(),
                (ctypes.c_uint * 3)(*launch.shape.grid),
                ctypes.c_uint(launch.shape.threads),
                ctypes.c_size_t(launch.shape.shared),
                ctypes.c_int(self.backwards),
                arguments,
            )
            del keep
            if status:
                raise BackendError(
                    f"{launch.source.file} has no kernel {launch.kernel}",
                    remedy="export it with EXPORT(name)",
                )
            if self.record is not None and before is not None:
                self.record.append((launch.source, _packed(launch, before)))

    def _library(self, source: Source) -> ctypes.CDLL:
        if source not in self._libraries:
            name = hashlib.sha256(repr((source, str(self.kernels))).encode()).hexdigest()[:16]
            target = self.folder / f"{source.file}-{name}.so"
            if not target.exists():
                compile_on_host(source, target, ["-O1", "-fPIC", "-shared"], kernels=self.kernels)
            self._libraries[source] = ctypes.CDLL(str(target))
        return self._libraries[source]


def _pointers(launch: Launch) -> tuple[ctypes.Array[ctypes.c_void_p], list[object]]:
    """The array of pointers to arguments that ``emulate`` takes, and what must stay alive."""
    keep: list[object] = []
    for argument in launch.arguments:
        if argument is None:
            keep.append(ctypes.c_void_p(None))
        elif isinstance(argument, Tensor):
            keep.append(ctypes.c_void_p(argument.data_ptr()))
        elif isinstance(argument, Int64):
            keep.append(ctypes.c_longlong(argument))
        else:
            keep.append(ctypes.c_int(argument))
    addresses = [ctypes.addressof(value) for value in keep]  # type: ignore[arg-type]
    return (ctypes.c_void_p * len(keep))(*addresses), keep


def _packed_buffers(launch: Launch) -> list[bytes]:
    return [_bytes(a) if isinstance(a, Tensor) else b"" for a in launch.arguments]


def _packed(launch: Launch, before: list[bytes]) -> bytes:
    """The layout that ``host_replay.cpp`` reads: header, then each argument."""
    name = launch.kernel.encode()
    parts = [struct.pack("<I", len(name)), name]
    grid, shape = launch.shape.grid, launch.shape
    parts.append(struct.pack("<3IIQI", *grid, shape.threads, shape.shared, len(launch.arguments)))
    for argument, given in zip(launch.arguments, before, strict=True):
        if isinstance(argument, Tensor):
            parts.append(struct.pack("<IQ", 2, len(given)) + given + _bytes(argument))
        elif argument is None:
            parts.append(struct.pack("<IQ", 1, 0))
        else:
            parts.append(struct.pack("<IQ", 0, 8) + struct.pack("<q", argument))
    return b"".join(parts)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
