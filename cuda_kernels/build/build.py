"""Compiled kernels, kept in the user's cache; and a table of what each takes of the device.

    python -m trocar.cuda_kernels.build.build            # every source, every architecture

A binary is known by the source with all it includes, its compile-time choices, the architecture and
the compiler: any change of one of them makes another binary, so nothing stale is ever loaded.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.build.compilers import ARCHITECTURES, KERNELS, Compiler, Defines, Nvrtc, find_compiler, find_nvrtc, usages

CONFIGURATIONS: tuple[tuple[str, Defines], ...] = (
    ("hard.cu", (("LABEL", "unsigned char"),)),
    ("hard.cu", (("LABEL", "long long"),)),
    ("entropy.cu", (("COUNT", "int"),)),
    ("entropy.cu", (("COUNT", "float"),)),
    *(
        (file, (("SCALAR", scalar), ("CLASSES", str(classes)), ("FROM_LOGITS", "1")))
        for file in ("soft_forward.cu", "soft_backward.cu")
        for scalar, classes in (
            ("float", 2),
            ("float", 8),
            ("portable::Half", 8),
            ("portable::Bfloat16", 32),
            ("float", 64),
            ("double", 8),
        )
    ),
    *(
        (
            "soft_forward_tensor.cu",
            (("SCALAR", scalar), ("CLASSES", str(classes)), ("FROM_LOGITS", "1")),
        )
        for scalar, classes in (
            ("float", 16),
            ("portable::Half", 24),
            ("portable::Bfloat16", 32),
            ("float", 64),
        )
    ),
)
"""What ``python -m trocar.cuda_kernels.build.build`` compiles; others are compiled when first needed."""

_OLDEST = {"soft_forward_tensor.cu": 80}
"""The compute capability, times ten, that a source needs; 75 where it is not here."""


def cached_binary(
    file: str,
    defines: Defines,
    architecture: str,
    *,
    compiler: Compiler | None = None,
    folder: Path | None = None,
) -> bytes:
    """Return the binary of a source, from the cache or compiled now and put there.

    Args:
        file: Name of a source in ``kernels/``.
        defines: Compile-time choices.
        architecture: ``sm_XX`` for a cubin, ``compute_XX`` for PTX.
        compiler: None finds one.
        folder: None is ``cache_folder()``.

    Raises:
        BackendError: There is no compiler, it refuses the source, or the architecture is too old.
    """
    check_architecture(file, architecture)
    compiler = compiler or _found_compiler()
    folder = cache_folder() if folder is None else folder
    key = binary_key(file, defines, architecture, compiler.name)
    target = folder / f"{Path(file).stem}-{architecture}-{key}"
    try:
        return target.read_bytes()
    except OSError:
        binary = compiler.compile(file, defines, architecture).binary
        _write_whole(target, binary)
        return binary


def fits(file: str, architecture: str) -> bool:
    """Can the source run on this architecture, ``sm_XX`` or ``compute_XX``?"""
    return int(re.sub(r"\D", "", architecture)) >= _OLDEST.get(file, 75)


def check_architecture(file: str, architecture: str) -> None:
    """Complain about a GPU too old for a source.

    Raises:
        BackendError: It is.
    """
    if not fits(file, architecture):
        raise BackendError(
            f"{file} needs tensor cores for TF32, which sm_{_OLDEST.get(file, 75)} and later have; "
            f"this GPU is {architecture}",
            remedy="use backend='cuda', whose kernels run from sm_75 up",
        )


def binary_key(file: str, defines: Defines, architecture: str, compiler: str) -> str:
    """Hash of everything that decides what a binary is."""
    digest = hashlib.sha256(repr((file, defines, architecture, compiler)).encode())
    for part in _closure(KERNELS / file):
        digest.update(part.read_bytes())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """``$TROCAR_CACHE/kernels``, else ``trocar/kernels`` in the user's cache folder."""
    own = os.environ.get("TROCAR_CACHE")
    if own:
        return Path(own) / "kernels"
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trocar" / "kernels"


@lru_cache(maxsize=1)
def _found_compiler() -> Compiler:
    return find_compiler()


def _closure(source: Path) -> Iterator[Path]:
    """The source and all that it includes from its own folder, each once."""
    waiting, seen = [source], set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        yield path
        names = re.findall(r'^\s*#include "([^"]+)"', path.read_text(encoding="utf-8"), re.M)
        waiting += [source.parent / name for name in names]


def _write_whole(target: Path, binary: bytes) -> None:
    """Several processes may write the same binary at once: each its own file, then a rename.

    A cache that can't be written costs a compilation, not the run.
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


def main(words: Sequence[str] | None = None) -> int:
    """Compile every configuration for every architecture and print registers and spills."""
    parser = argparse.ArgumentParser(prog="python -m trocar.cuda_kernels.build.build")
    parser.add_argument("--architecture", nargs="*", default=[*ARCHITECTURES, "compute_75"])
    parser.add_argument("--file", help="this source alone")
    parser.add_argument("--nvrtc", action="store_true", help="even where there is nvcc")
    options = parser.parse_args(words)
    library = find_nvrtc() if options.nvrtc else None
    compiler: Compiler = Nvrtc(library) if library is not None else find_compiler()
    print(f"compiler: {compiler.name}\n")
    print("| source | choices | kernel | architecture | registers | spilled bytes | size |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for file, defines in CONFIGURATIONS:
        if options.file not in (None, file):
            continue
        choices = " ".join(value.removeprefix("portable::") for _, value in defines)
        for architecture in options.architecture:
            if not fits(file, architecture):
                continue
            done = compiler.compile(file, defines, architecture)
            found = usages(done.log)
            for usage in found:
                print(
                    f"| {file} | {choices} | {usage.kernel} | {architecture} "
                    f"| {usage.registers} | {usage.spilled} | {len(done.binary)} |"
                )
            if not found:
                print(f"| {file} | {choices} | all | {architecture} | | | {len(done.binary)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
