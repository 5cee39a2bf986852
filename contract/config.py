"""Dataclass <-> TOML <-> command-line flags, with every fault reported at once.

    @dataclass(frozen=True, kw_only=True)
    class Config:
        '''Attributes:
            steps: Optimiser steps.
        '''
        steps: Annotated[int, Range(1)] = 100

        def __post_init__(self) -> None:
            check_ranges(self)

    from_mapping(Config, {"setps": 5}, source="x.toml")   # ConfigError: did you mean steps?

Field types: ``bool int float str Path``, ``Literal[...]``, ``X | None``, ``tuple[X, ...]`` and
``tuple[X, X]``. A `Range` gives the check of a number and its limits in ``--help``; `require`
checks what a range cannot say.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar

from trocar.contract._config_values import convert_value
from trocar.contract.errors import ConfigError
from trocar.contract.text.toml import read_toml

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Limits of a number, or of every number of a tuple, given with `typing.Annotated`.

        rotate: Annotated[float, Range(0, 180)] = 20.0

    Attributes:
        low: Smallest value.
        high: Largest value.
        open_low: Whether ``low`` itself is excluded.
        open_high: Whether ``high`` itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.open_low else self.low <= value
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        """The limits in words, such as ``0 to 1`` or ``above 0``."""
        if math.isinf(self.low):
            return f"below {self.high:g}" if self.open_high else f"at most {self.high:g}"
        low = f"above {self.low:g}" if self.open_low else f"{self.low:g}"
        if math.isinf(self.high):
            return low if self.open_low else f"{low} or more"
        return f"{low} to below {self.high:g}" if self.open_high else f"{low} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One field of a configuration dataclass, as flags and help texts need it.

    Attributes:
        name: Field name; the flag is ``--`` plus the name with dashes.
        kind: The annotation without ``None`` and without its range.
        optional: Whether ``None`` is allowed.
        default: Default value, or ``dataclasses.MISSING``.
        help: The field's line of the class's ``Attributes:`` section, with its range if it has one.
        range: Limits of the number; ``None`` for none.
    """

    name: str
    kind: Any
    optional: bool
    default: Any
    help: str
    range: Range | None = None

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts of a ``Literal`` field; empty for other kinds."""
        if typing.get_origin(self.kind) is typing.Literal:
            return tuple(str(choice) for choice in typing.get_args(self.kind))
        return ()


def fields_of(cls: type) -> list[FieldSpec]:
    """Describes the fields of a configuration dataclass, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    helps = attribute_docs(cls)
    specs = []
    for field in dataclasses.fields(cls):
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        kind, optional, limits = _plain_kind(hints[field.name])
        text = helps.get(field.name, "")
        specs.append(
            FieldSpec(
                name=field.name,
                kind=kind,
                optional=optional,
                default=default,
                help=f"{text.removesuffix('.')} ({limits})." if limits else text,
                range=limits,
            )
        )
    return specs


def attribute_docs(cls: type) -> dict[str, str]:
    """Reads the ``Attributes:`` section of a docstring: text by attribute name, bases included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        section = re.search(r"^Attributes:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
        if section is None:
            continue
        name = ""
        for line in section.group(1).splitlines():
            head = re.match(r"^ {4}(\w+): (.*)$", line)
            if head:
                name = head.group(1)
                docs[name] = head.group(2).strip()
            elif name and line.strip():
                docs[name] += " " + line.strip()
    return docs


def from_mapping(cls: type[T], values: Mapping[str, Any], *, source: str) -> T:
    """Makes a configuration from plain values.

    Args:
        cls: A configuration dataclass.
        values: Values by field name, as TOML gives them; texts are converted to the field's type.
        source: Where they come from, for messages.

    Raises:
        ConfigError: Unknown names (with did-you-mean), missing, ill-typed or out-of-range values,
            all at once.
    """
    specs = {spec.name: spec for spec in fields_of(cls)}
    faults: list[str] = []
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in specs:
            faults.append(unknown(name, specs))
            continue
        try:
            made[name] = convert(value, specs[name])
        except ValueError as error:
            faults.append(f"{name}: {error}")
    for name, spec in specs.items():
        if name not in values and spec.default is MISSING:
            faults.append(f"{name} is missing")
    try:
        config = cls(**{**_placeholders(specs, made), **made})
    except ConfigError as error:
        faults.append(error.message)
    else:
        if not faults:
            return config
    raise ConfigError(f"{source}: " + "; ".join(faults), remedy="correct the named values")


def read_config(cls: type[T], path: str | Path) -> T:
    """Reads a flat TOML file into a configuration.

    Raises:
        DataError: The file cannot be read or is not TOML.
        ConfigError: See `from_mapping`.
    """
    return from_mapping(cls, read_toml(path), source=str(path))


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain values by field name, fit for TOML and JSON; ``None`` fields are left out."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if getattr(config, field.name) is not None
    }


def require(*checks: tuple[bool, str]) -> None:
    """Raises one `ConfigError` that lists every failed check; for ``__post_init__``.

    Args:
        checks: Pairs of what must be true and what to say when it is not.
    """
    faults = [text for good, text in checks if not good]
    if faults:
        raise ConfigError("; ".join(faults), remedy="correct the named values")


def check_ranges(config: Any, *checks: tuple[bool, str]) -> None:
    """Raises one `ConfigError` for all numbers outside their `Range`; for ``__post_init__``.

    Args:
        config: A configuration dataclass.
        checks: Further checks, see `require`.
    """
    found = []
    for spec in fields_of(type(config)):
        value, limits = getattr(config, spec.name), spec.range
        if limits is None or value is None:
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        good = all(number in limits for number in numbers)
        found.append((good, f"{spec.name} is {value}, expected {limits}"))
    require(*found, *checks)


def unknown(name: str, known: typing.Iterable[str]) -> str:
    """Words for an unknown name, with the nearest known ones."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"{name!r} is not known{hint}"


def convert(value: Any, spec: FieldSpec) -> Any:
    """Converts a TOML value or a flag's text to the field's type.

    Raises:
        ValueError: It does not fit; the text says what was got and expected.
    """
    if value is None:
        if spec.optional:
            return None
        raise ValueError("got nothing, expected a value")
    return convert_value(value, spec.kind)


def _plain_kind(kind: Any) -> tuple[Any, bool, Range | None]:
    """The kind without range and ``None``, whether it may be ``None``, and the range."""
    if typing.get_origin(kind) is typing.Annotated:
        inner, *extras = typing.get_args(kind)
        limits = next((extra for extra in extras if isinstance(extra, Range)), None)
        plain, optional, _ = _plain_kind(inner)
        return plain, optional, limits
    plain, optional = _without_none(kind)
    if optional and typing.get_origin(plain) is typing.Annotated:
        plain, _, limits = _plain_kind(plain)
        return plain, True, limits
    return plain, optional, None


def _without_none(kind: Any) -> tuple[Any, bool]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return kind, False


def _placeholders(specs: Mapping[str, FieldSpec], made: Mapping[str, Any]) -> dict[str, Any]:
    """Stand-ins for missing required fields, so that range checks of the others still run."""
    zero: dict[Any, Any] = {int: 1, float: 1.0, str: "x", bool: False, Path: Path()}
    return {
        name: zero.get(spec.kind)
        for name, spec in specs.items()
        if spec.default is MISSING and name not in made
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
