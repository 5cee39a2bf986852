"""Command-line options made from a configuration dataclass, and the other way round.

    @click.command()
    @config_flags(RunConfig)
    def command(**flags: Any) -> None:
        run = from_flags(RunConfig, flags)

A field ``size`` of two numbers is (height, width); its option takes WIDTHxHEIGHT, as every size on
the command line does.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

import click

from trocar.commands._types import SizeType
from trocar.contract.config import FieldSpec, fields_of, from_mapping
from trocar.contract.text.toml import read_toml

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

SIZE = "size"


def config_flags(cls: type, *, leave_out: Iterable[str] = ()) -> Callable[[F], F]:
    """Adds one option for each field; an option that is not given arrives as ``None``.

    Args:
        cls: A configuration dataclass.
        leave_out: Names of fields without an option.
    """
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
        flags: click's values; ``None`` means not given; names that are not fields are ignored.
        recipe: A flat TOML file.

    Raises:
        ConfigError: All faults of the recipe and the flags at once.
        DataError: The recipe cannot be read.
    """
    names = {spec.name for spec in fields_of(cls)}
    values: dict[str, Any] = dict(read_toml(recipe)) if recipe else {}
    values.update({n: v for n, v in flags.items() if n in names and v is not None})
    return from_mapping(cls, values, source=str(recipe) if recipe else "command line")


def arguments_of(settings: Mapping[str, Any]) -> list[str]:
    """The command-line arguments that give these settings; the inverse of `config_flags`.

    Args:
        settings: Values by field name, as TOML has them; ``None`` is left out.
    """
    arguments: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            arguments += [f"--{flag}", _text(name, value)]
    return arguments


def _option(spec: FieldSpec) -> Callable[[F], F]:
    text = spec.help
    if spec.default is not MISSING and spec.default is not None:
        text = f"{text} [default: {_text(spec.name, spec.default)}]"
    if spec.kind is bool:
        declaration = f"{spec.flag}/--no-{spec.flag[2:]}"
        return click.option(declaration, spec.name, default=None, help=text)
    if _is_size(spec.name, spec.kind):
        return click.option(spec.flag, spec.name, default=None, help=text, type=SizeType())
    if spec.kind == tuple[str, ...]:
        return click.option(
            spec.flag, spec.name, multiple=True, help=text, metavar=_metavar(spec), type=str,
            callback=_joined,
        )  # fmt: skip
    return click.option(
        spec.flag, spec.name, default=None, help=text, metavar=_metavar(spec), type=str
    )


def _joined(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """A list that is given at once or in parts: ``--loss ce=1,dice=1``, or the flag twice."""
    return ",".join(values) if values else None


def _is_size(name: str, kind: Any) -> bool:
    return name == SIZE and kind == tuple[int, int]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == SIZE and isinstance(value, (tuple, list)):
        height, width = value
        return f"{width}x{height}"
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value) or "none"
    return str(value)


def _metavar(spec: FieldSpec) -> str:
    if spec.choices:
        return f"[{'|'.join(spec.choices)}]"
    if typing.get_origin(spec.kind) is tuple:
        return "A,B,…"
    return {int: "N", float: "X", Path: "PATH"}.get(spec.kind, "TEXT")
