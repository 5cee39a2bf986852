"""Collects wheels with their hashes, for installation on a machine without a network.

made = collect(Path("wheels"), extras=("cpu",), target=Target(python="3.11"))
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trocar import __version__
from trocar.contract.bundle import sha256_of
from trocar.contract.errors import ConfigError, OutputExistsError, SourceError

REQUIREMENTS = "requirements.txt"
_EXTRAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_PLATFORM = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The machine that wheels are for.

    Attributes:
        python: Its Python, e.g. ``3.11``; ``None``: this one's.
        platforms: Platform tags, e.g. ``manylinux_2_28_x86_64``; empty: this machine's.
    """

    python: str | None = None
    platforms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.python is not None and not _PYTHON.fullmatch(self.python):
            raise ConfigError(
                f"--python is {self.python!r}, expected a version",
                remedy="write it with one point, e.g. 3.11",
            )
        wrong = [tag for tag in self.platforms if not _PLATFORM.fullmatch(tag)]
        if wrong:
            raise ConfigError(
                f"--platform is {wrong[0]!r}, expected a platform tag",
                remedy="e.g. manylinux_2_28_x86_64; `pip debug --verbose` lists a machine's tags",
            )


def collect(
    out: Path,
    *,
    extras: Sequence[str] = (),
    target: Target,
    constraint: Path | None = None,
    wheel: Path | None = None,
) -> list[Path]:
    """Downloads wheels into a new folder, with a requirements file that states their hashes.

    Args:
        out: Folder to make; it may exist if it is empty.
        extras: Extras of Trocar.
        target: The machine.
        constraint: Versions to take, as ``pip -c`` takes them.
        wheel: Trocar's own wheel; ``None``: this version, from the package index.

    Returns:
        The wheels.

    Raises:
        OutputExistsError: ``out`` holds something.
        ConfigError: An extra or a file that is not there.
        SourceError: pip finds no wheels for the machine, or cannot reach its index.
    """
    wrong = [name for name in extras if not _EXTRAS.fullmatch(name)]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} is no extra", remedy="write its name, e.g. --extra cpu")
    for file in (constraint, wheel):
        if file is not None and not file.is_file():
            raise ConfigError(f"there is no file {file}", remedy="correct the path")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(f"{out} exists", remedy="name a new or an empty folder")
    wanted = f"[{','.join(extras)}]" if extras else ""
    root = f"trocar{wanted}=={__version__}" if wheel is None else f"{wheel.absolute()}{wanted}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
        part = Path(name) / "wheels"
        part.mkdir()
        _download(root, part, target, constraint)
        made = sorted(part.glob("*.whl"))
        lines = [_requirement(file, extras) for file in made]
        (part / REQUIREMENTS).write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        shutil.move(part, out)
    return [out / file.name for file in made]


def _download(root: str, folder: Path, target: Target, constraint: Path | None) -> None:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
    command += ["--only-binary", ":all:", "--dest", str(folder)]
    if constraint is not None:
        command += ["-c", str(constraint)]
    if target.python is not None:
        command += ["--python-version", target.python, "--implementation", "cp"]
    for tag in _tags(target.platforms):
        command += ["--platform", tag]
    done = subprocess.run([*command, root], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = said[0].removeprefix("ERROR: ") if said else done.stderr.strip()[-300:]
        raise SourceError(
            f"pip finds no wheels of {root}: {reason}",
            remedy="check the network, --extra, --python and --platform; a package without a wheel "
            "for that machine must be built there",
        )
    if any(name.is_file() and name.suffix != ".whl" for name in folder.iterdir()):
        raise SourceError(
            "pip downloaded something that is no wheel", remedy="update pip: pip install -U pip"
        )


def _tags(platforms: Sequence[str]) -> list[str]:
    """The tags with the older ones that the same machine takes: pip itself adds none of them."""
    tags = []
    for platform in platforms:
        tags.append(platform)
        match = re.fullmatch(r"manylinux_2_([0-9]+)_(.+)", platform)
        if match is None:
            continue
        minor, machine = int(match[1]), match[2]
        tags += [f"manylinux_2_{older}_{machine}" for older in range(minor - 1, 4, -1)]
        aliases = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}
        tags += [f"{name}_{machine}" for name, oldest in aliases.items() if oldest <= minor]
        # Wheels that were built at home, Trocar's own among them, state no release of glibc.
        tags.append(f"linux_{machine}")
    return list(dict.fromkeys(tags))


def _requirement(file: Path, extras: Sequence[str]) -> str:
    """A line of the requirements file: name, version, hash."""
    name, version = file.name.split("-")[:2]
    name = name.replace("_", "-").lower()
    wanted = f"[{','.join(extras)}]" if extras and name == "trocar" else ""
    return f"{name}{wanted}=={version} --hash=sha256:{sha256_of(file)}"
