r"""Canonical JSON: one form of each document, the same in both languages, so that it can be hashed.

canonical_json(parse_as_written('{ "b": 1.0, "a": [] }'))      # b'{"a":[],"b":1.0}'

The form: UTF-8 without white space. Members are sorted by the code points of their names; of equal
names the last one counts. Texts are raw, except ``"`` and ``\``, which get a backslash, and
characters below U+0020, which become ``\u00xx``. Numbers keep the characters of the document: no
two readers need to agree on how a number is printed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from trocar.contract.text.strict_json import parse_json

_ESCAPED = re.compile(r'["\\\x00-\x1f]')


class NumberText(str):
    """A number as the document writes it."""

    __slots__ = ()


def parse_as_written(text: str | bytes) -> Any:
    """A document that `parse_json` accepts, with each number as `NumberText`.

    Raises:
        ValueError: See `parse_json`.
        RecursionError: It is nested so deeply that Python's reader gives up.
    """
    parse_json(text)
    return json.loads(text, parse_int=NumberText, parse_float=NumberText)


def canonical_json(value: Any) -> bytes:
    """The canonical form of what `parse_as_written` returned.

    Raises:
        TypeError: A value is of another type, e.g. a plain number.
    """
    return _written(value).encode("utf-8")


def _written(value: Any) -> str:
    if isinstance(value, NumberText):
        return str(value)
    if isinstance(value, str):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_written(k)}:{_written(value[k])}' for k in sorted(value))}}}"
    raise TypeError(f"{type(value).__name__} is not of a parsed document")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\u{ord(character):04x}" if character < " " else f"\\{character}"
