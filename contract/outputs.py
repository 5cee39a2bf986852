"""Where results may be written: never onto an input, into a bundle, or twice onto one file.

    check_outputs({"--json": Path("out.jsonl")}, inputs=[Path("film.mp4")])
    check_free(Path("out.jsonl"), overwrite=False)
    check_own_folder(Path("frames"), overwrite=True)

Files are compared by what they are (device and inode, through links), not by their names. A folder
is replaced only if Trocar wrote it: it holds the file `MARKER` and nothing that Trocar did not
write. Devices, pipes and ``/dev/stdout`` are written to and never replaced.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from trocar.contract.errors import ConfigError, OutputExistsError

MARKER = ".trocar"
"""File in a folder of results, which says that Trocar wrote the folder and may replace it."""

_MARKER_TEXT = b"Trocar wrote this folder and may replace it.\n"
_OWN_FILE = re.compile(r"[0-9]{6,}\.png")
_Identity = tuple[int, int] | str


def check_outputs(
    outputs: Mapping[str, Path],
    *,
    inputs: Iterable[Path],
    folders: Collection[str] = (),
    bundles: Collection[str] = (),
) -> None:
    """Refuses outputs that would destroy an input, a bundle or one another.

    Args:
        outputs: Path by flag, e.g. ``{"--json": Path("out.jsonl")}``.
        inputs: Files and folders that the command reads.
        folders: Flags of outputs that are folders.
        bundles: Flags of outputs that are bundles, and so may replace a bundle.

    Raises:
        ConfigError: Such an output; all faults at once.
    """
    read = [path for path in inputs if path.exists()]
    faults: list[str] = []
    seen: dict[_Identity, str] = {}
    for flag, path in outputs.items():
        faults += [f"{flag} {path} is an input ({i})" for i in read if _is_same(path, i)]
        bundle = enclosing_bundle(path)
        if bundle is not None and not (flag in bundles and bundle == _real(path)):
            faults.append(f"{flag} {path} is in the bundle {bundle}")
        if flag in folders:
            faults += [f"{flag} {path} holds the input {i}" for i in read if is_inside(i, path)]
            faults += [
                f"{flag} {path} holds the output {other} {inner}"
                for other, inner in outputs.items()
                if other != flag and is_inside(inner, path)
            ]
        if path == Path(os.devnull):
            continue
        other = seen.setdefault(_identity(path), flag)
        if other != flag:
            faults.append(f"{flag} and {other} are the same file, {path}")
    if faults:
        raise ConfigError(
            "; ".join(faults),
            remedy="choose another name for each; inputs and bundles are never written to",
        )


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuses an output file that exists already.

    Raises:
        OutputExistsError: It exists and may not be replaced, or is a folder.
    """
    if is_node(path):
        return
    if path.is_dir() and overwrite:
        raise OutputExistsError(f"{path} is a folder", remedy="choose another name")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(
            f"{path} exists already", remedy="choose another name, or pass --overwrite"
        )


def check_own_folder(path: Path, *, overwrite: bool) -> None:
    """Refuses to replace a folder that Trocar did not write.

    Raises:
        OutputExistsError: It is a file, is not empty and may not be replaced, or holds other files
            than Trocar's.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise OutputExistsError(f"{path} is a file", remedy="choose another name")
    names = os.listdir(path) if path.is_dir() else []
    if not names:
        return
    if not overwrite:
        raise OutputExistsError(
            f"{path} exists already and is not empty",
            remedy="choose another name, or pass --overwrite",
        )
    if MARKER not in names:
        raise OutputExistsError(
            f"{path} is not empty, and Trocar did not write it: it has no file {MARKER}",
            remedy="choose another name, or remove the folder yourself",
        )
    strange = sorted(n for n in names if n != MARKER and not _OWN_FILE.fullmatch(n))
    if strange:
        raise OutputExistsError(
            f"{path} holds files that Trocar did not write: {', '.join(strange[:3])}",
            remedy="move them, or choose another name",
        )


def check_own_files(folder: Path, pattern: str) -> None:
    """Refuses to replace a folder in which a file has another name than those that Trocar writes.

    Args:
        folder: An existing folder.
        pattern: Regular expression of the names that Trocar writes.

    Raises:
        OutputExistsError: It holds other files.
    """
    strange = sorted(name for name in os.listdir(folder) if not re.fullmatch(pattern, name))
    if strange:
        raise OutputExistsError(
            f"{folder} holds files that Trocar did not write: {', '.join(strange[:3])}",
            remedy="move them, or choose another name",
        )


def mark_own(folder: Path) -> None:
    """Marks a folder as written by Trocar.

    Raises:
        OSError: The marker cannot be written.
    """
    (folder / MARKER).write_bytes(_MARKER_TEXT)


def is_node(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket: something that is written to, not replaced.

    ``/dev/stdout`` counts even where standard output is a file.
    """
    text = os.path.abspath(path)
    if text.startswith(("/dev/", "/proc/")) and not text.startswith("/dev/shm/"):
        return not os.path.isdir(text)
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def enclosing_bundle(path: Path) -> Path | None:
    """The bundle that a path is, or lies in; ``None`` without one."""
    place = _real(path)
    for folder in (place, *place.parents):
        if (folder / "manifest.json").is_file() and (folder / "model.onnx").is_file():
            return folder
    return None


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, at any depth; links are followed."""
    if not folder.is_dir():
        return _real(folder) in _real(path).parents
    return any(_is_same(parent, folder) for parent in _real(path).parents)


def _is_same(path: Path, other: Path) -> bool:
    return _identity(path) == _identity(other)


def _identity(path: Path) -> _Identity:
    """Device and inode of what exists; else the path without links.

    Where the disk does not tell names by their case, new ones are compared without it.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        real = _real(path)
        text = unicodedata.normalize("NFC", str(real))
        return text.casefold() if ignores_case(real) else str(real)
    return found.st_dev, found.st_ino


def ignores_case(path: Path) -> bool:
    """Whether the disk of a path takes two names that differ in their case for one."""
    for folder in path.parents:
        other = folder.with_name(folder.name.swapcase())
        if other != folder and folder.exists():
            try:
                return os.path.samefile(folder, other)
            except OSError:
                return False
    return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
