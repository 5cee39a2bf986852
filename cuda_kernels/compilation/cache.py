"""Compiled kernels in the user's cache folder.

    cached_binary("hard.cu", (("LABEL", "int"),), "sm_90")  # bytes of a cubin

The file name holds a hash of the source with everything it includes, its compile-time choices, the
architecture and the compiler. A change of any of them gives another file, so no stale binary is
loaded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from trocar.cuda_kernels.compilation.compilers import Compiler, find_compiler
from trocar.cuda_kernels.compilation.sources import (
    KERNELS,
    Defines,
    check_architecture,
    included_files,
)


def cached_binary(
    file: str,
    defines: Defines,
    architecture: str,
    *,
    compiler: Compiler | None = None,
    folder: Path | None = None,
) -> bytes:
    """Return the binary of a source from the cache; compile and store it first if it is missing.

    Args:
        file: Name of a source in ``kernels/``.
        defines: Compile-time choices.
        architecture: ``sm_XX`` gives a cubin, ``compute_XX`` gives PTX.
        compiler: None is ``find_compiler()``.
        folder: None is ``cache_folder()``.

    Raises:
        BackendError: No compiler is installed, it refuses the source, or the GPU is too old.
    """
    check_architecture(file, architecture)
    compiler = compiler or _default_compiler()
    folder = cache_folder() if folder is None else folder
    key = binary_key(file, defines, architecture, compiler.name)
    target = folder / f"{Path(file).stem}-{architecture}-{key}"
    try:
        return target.read_bytes()
    except OSError:
        binary = compiler.compile(file, defines, architecture).binary
        _publish(target, binary)
        return binary


def binary_key(file: str, defines: Defines, architecture: str, compiler: str) -> str:
    """Hash everything that a binary depends on; files of ``kernels/host/`` are not part of it."""
    digest = hashlib.sha256(repr((file, defines, architecture, compiler)).encode())
    for path in included_files(KERNELS / file):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """``$TROCAR_CACHE/kernels``, else ``trocar/kernels`` in the user's cache folder."""
    override = os.environ.get("TROCAR_CACHE")
    if override:
        return Path(override) / "kernels"
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trocar" / "kernels"


def target_of(architecture: str, *, compiler: Compiler | None = None) -> str:
    """What to compile for a GPU: its own architecture, or PTX where the compiler is older.

    Args:
        architecture: ``sm_XX`` of the GPU.
        compiler: None is ``find_compiler()``.

    Returns:
        ``sm_XX``, or ``compute_YY`` with the newest architecture that the compiler knows and that
        is not above the GPU's; the driver translates it for the GPU.
    """
    known = (compiler or _default_compiler()).architectures()
    number = int(architecture.removeprefix("sm_"))
    older = [each for each in known if each < number]
    return architecture if number in known or not older else f"compute_{max(older)}"


@lru_cache(maxsize=1)
def _default_compiler() -> Compiler:
    return find_compiler()


def _publish(target: Path, binary: bytes) -> None:
    """Write a binary atomically: to a temporary file, which is then renamed.

    Several processes may write the same binary at once. If the folder cannot be written, the binary
    is only not stored, and the next process compiles again.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(binary)
        os.replace(part, target)
    except OSError:
        Path(part).unlink(missing_ok=True)
