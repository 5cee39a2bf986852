"""The training methods, one file each; a file's name with dashes is its command.

from trocar.train.methods import find_method
find_method("mean-teacher")
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError

if TYPE_CHECKING:
    from trocar.train.methods.protocol import Method

_FOLDER = Path(__file__).parent
_NOT_METHODS = {"protocol"}


def method_names() -> list[str]:
    """Command names of the methods that have a file here; imports none of them."""
    files = [module.name for module in pkgutil.iter_modules([str(_FOLDER)])]
    return sorted(name.replace("_", "-") for name in files if name not in _NOT_METHODS)


def method_summary(name: str) -> str:
    """First line of a method's file; read from its source, not imported."""
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name
    return text.splitlines()[0]


def find_method(name: str) -> type[Method]:
    """Imports the method of that command name.

    Raises:
        ConfigError: There is no such method; names the nearest.
    """
    if name not in method_names():
        raise ConfigError(
            f"training method {unknown(name, method_names())}",
            remedy="choose one of " + ", ".join(method_names()),
        )
    module = importlib.import_module(f"trocar.train.methods.{name.replace('-', '_')}")
    method: type[Method] = module.METHOD
    return method
