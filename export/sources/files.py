"""Files that libraries write: JSON, weights in a folder, and the libraries themselves.

config = read_object(Path("my_model/config.json"))
path = weights_in(Path("my_model"))
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trocar.contract.errors import ArgumentError, DataError, MissingExtraError
from trocar.contract.text.outside_json import load_json
from trocar.contract.text.words import first_line

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Names of weights files in a folder of `save_pretrained`, the first that is there is taken."""


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        DataError: It is missing, no JSON, or something else than an object.
    """
    try:
        value = load_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"there is no {path}", remedy="name the folder that the library wrote, whole"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {first_line(error)}",
            remedy="copy the folder again from where it was made",
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path} holds a {type(value).__name__}, expected an object",
            remedy="copy the folder again from where it was made",
        )
    return value


def weights_in(folder: Path, stated: Path | None = None) -> Path:
    """The weights file of a folder, or the one that is stated.

    Raises:
        DataError: There is none.
    """
    if stated is not None:
        return stated
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{folder} has none of {', '.join(WEIGHTS)}",
        remedy="name the weights file with --weights FILE",
    )


def library(name: str, install: str) -> Any:
    """Imports the library that a network is of.

    Args:
        name: Import name, also of a submodule.
        install: What ``pip install`` takes.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.partition(".")[0]
        if (error.name or "").partition(".")[0] != top:
            raise
        raise MissingExtraError(
            f"networks of this source need the Python package {top!r}, which is not installed",
            remedy=f"pip install {install}",
        ) from error


def one_of(name: str, known: Iterable[str], *, what: str, remedy: str) -> str:
    """A name that the library knows, in the library's spelling.

    Raises:
        ArgumentError: It does not know the name; the message has the nearest ones.
    """
    names = {known_name.lower(): known_name for known_name in known}
    if name.lower() in names:
        return names[name.lower()]
    near = difflib.get_close_matches(name.lower(), names, n=3)
    hint = f"; did you mean {', '.join(names[n] for n in near)}?" if near else ""
    raise ArgumentError(f"there is no {what} {name!r}{hint}", remedy=remedy)


def triple(values: object) -> tuple[float, float, float] | None:
    """Three numbers of a file; one number counts for all channels, anything else is ``None``."""
    if isinstance(values, (int, float)) and not isinstance(values, bool):
        values = [values]
    if not isinstance(values, (list, tuple)):
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return None
    if len(values) == 1:
        values = [*values] * 3
    if len(values) != 3:
        return None
    a, b, c = (float(v) for v in values)
    return a, b, c


def sides(values: object) -> tuple[int, int] | None:
    """Two positive whole numbers of a file, e.g. height and width; else ``None``."""
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        return None
    if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values):
        return None
    return values[0], values[1]


def refuse_keys(values: Mapping[str, object], refused: Iterable[str], *, path: Path) -> None:
    """Refuses settings of a file that would load or fetch something.

    Raises:
        ArgumentError: Names the first of them.
    """
    for key in refused:
        if values.get(key):
            raise ArgumentError(
                f"{path} sets {key} = {values[key]!r}, which would load another file",
                remedy=f"remove {key} from the file; the weights are read from the folder alone",
            )
