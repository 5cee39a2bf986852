"""Converts TOML values and the texts of flags to the types of configuration fields.

size = convert_value("256,320", tuple[int, int])   # (256, 320)
"""

from __future__ import annotations

import difflib
import math
import re
import typing
from pathlib import Path
from typing import Any


def convert_value(value: Any, kind: Any) -> Any:
    """Converts a TOML value or a flag's text to the type of a field.

    Args:
        value: Any value but ``None``.
        kind: The type, without ``None`` and without its range.

    Raises:
        ValueError: It does not fit; the text says what was got and expected.
        TypeError: The type is not supported.
    """
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        if value in choices:
            return value
        near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"got {value!r}, expected one of {', '.join(map(str, choices))}{hint}")
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(kind))
    if kind is Path:
        if isinstance(value, (str, Path)):
            return Path(value)
        raise ValueError(f"got {value!r}, expected a path")
    if kind is str:
        if isinstance(value, str):
            return value
        raise ValueError(f"got {value!r}, expected text")
    if kind is bool:
        return _convert_bool(value)
    if kind in (int, float):
        return _convert_number(value, kind)
    raise TypeError(f"unsupported configuration type {kind!r}")


def _convert_tuple(value: Any, items: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str):
        # Between numbers an x separates too, as in 640x512; within words it is a letter.
        separators = r"[,\s]+" if str in items else r"[,x\s]+"
        value = [part for part in re.split(separators, value.strip()) if part]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"got {value!r}, expected a list")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(convert_value(item, items[0]) for item in value)
    if len(value) != len(items):
        raise ValueError(f"got {len(value)} values, expected {len(items)}")
    return tuple(convert_value(item, kind) for item, kind in zip(value, items, strict=True))


def _convert_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError(f"got {value!r}, expected true or false")


def _convert_number(value: Any, kind: type) -> Any:
    word = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"got {value!r}, expected {word}")
    if kind is int and isinstance(value, float):
        raise ValueError(f"got {value!r}, expected {word}")
    try:
        number = kind(value)
    except ValueError:
        raise ValueError(f"got {value!r}, expected {word}") from None
    if not math.isfinite(number):
        raise ValueError(f"got {value!r}, expected a finite number")
    return number
