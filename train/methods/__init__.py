"""The training methods, one file each; a file's name with dashes is its command.

from trocar.train.methods import find_method
find_method("mean-teacher")

Installed packages add methods by entry points, see `trocar.contract.plug_ins`.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import PlugIn, load, plug_in_fault, plug_ins

if TYPE_CHECKING:
    from trocar.train.methods.protocol import Method

_FOLDER = Path(__file__).parent
_NOT_METHODS = {"protocol"}


def own_methods() -> list[str]:
    """Command names of the methods that have a file here; imports none of them."""
    files = [module.name for module in pkgutil.iter_modules([str(_FOLDER)])]
    return sorted(name.replace("_", "-") for name in files if name not in _NOT_METHODS)


def method_names() -> list[str]:
    """Command names of all methods, those of plug-ins included; imports none of them."""
    own = own_methods()
    return sorted([*own, *plug_ins("methods", own=own)])


def plug_in_of(name: str) -> PlugIn | None:
    """The plug-in that adds a method; ``None`` for one of Trocar's own."""
    return plug_ins("methods", own=own_methods()).get(name)


def method_summary(name: str) -> str:
    """First line of a method's file, or that of its plug-in's package; imports nothing."""
    plug_in = plug_in_of(name)
    if plug_in is not None:
        return f"{plug_in.summary or 'Plug-in.'} (plug-in of {plug_in.package})"
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name
    return text.splitlines()[0]


def find_method(name: str) -> type[Method]:
    """Imports the method of that command name.

    Raises:
        ConfigError: There is no such method; names the nearest. Or it is a plug-in's and does not
            work.
    """
    if name not in method_names():
        raise ConfigError(
            f"training method {unknown(name, method_names())}",
            remedy="choose one of " + ", ".join(method_names()),
        )
    plug_in = plug_in_of(name)
    if plug_in is not None:
        added: type[Method] = load(plug_in)
        if added.name != name:
            raise plug_in_fault(plug_in, f"the method's own name is {added.name!r}")
        return added
    module = importlib.import_module(f"trocar.train.methods.{name.replace('-', '_')}")
    method: type[Method] = module.METHOD
    return method
