"""Command-line flags made from a configuration dataclass, for every room's ``cli.py``.

    @click.command()
    @config_flags(Config)
    def command(**flags): config = from_flags(Config, flags)

The one module of this room that imports click; nothing else here imports it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

import click

from trocar.contract.config import FieldSpec, fields_of, from_mapping
from trocar.contract.toml import read_toml

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def config_flags(cls: type, *, leave_out: Iterable[str] = ()) -> Callable[[F], F]:
    """Adds one option a field; a flag that is not given arrives as ``None``."""
    hidden = set(leave_out)

    def decorate(function: F) -> F:
        for spec in reversed(fields_of(cls)):
            if spec.name not in hidden:
                function = _option(spec)(function)
        return function

    return decorate


def from_flags(cls: type[T], flags: Mapping[str, Any], *, recipe: Path | None = None) -> T:
    """Makes the configuration: defaults, overridden by the recipe, overridden by flags.

    Args:
        cls: The dataclass that `config_flags` read.
        flags: click's values; ``None`` means not given; names that are no field are passed over.
        recipe: A flat TOML file.

    Raises:
        ConfigError: Faults of the recipe or the flags, all at once.
        DataError: The recipe cannot be read.
    """
    names = {spec.name for spec in fields_of(cls)}
    values: dict[str, Any] = dict(read_toml(recipe)) if recipe else {}
    values.update({n: v for n, v in flags.items() if n in names and v is not None})
    return from_mapping(cls, values, source=str(recipe) if recipe else "command line")


def _option(spec: FieldSpec) -> Callable[[F], F]:
    text = spec.help
    if spec.default is not MISSING and spec.default is not None:
        text = f"{text} [default: {_shown(spec.default)}]"
    if spec.kind is bool:
        declaration = f"{spec.flag}/--no-{spec.flag[2:]}"
        return click.option(declaration, spec.name, default=None, help=text)
    return click.option(
        spec.flag, spec.name, default=None, help=text, metavar=_metavar(spec), type=str
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _metavar(spec: FieldSpec) -> str:
    if spec.choices:
        return "|".join(spec.choices)
    if typing.get_origin(spec.kind) is tuple:
        return "A,B,…"
    return {int: "N", float: "X", Path: "PATH"}.get(spec.kind, "TEXT")
