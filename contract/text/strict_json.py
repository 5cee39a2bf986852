"""Strict JSON: the documents that both runtimes accept, Python's and C++'s.

parse_json('{"height": 512}')      # {"height": 512}
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting. Both readers are recursive; the limit keeps them from a stack overflow."""

MAX_INTEGER = 2**53 - 1
"""Largest magnitude of an integer (RFC 7493). Every JSON reader represents it exactly."""


def parse_json(text: str | bytes) -> Any:
    """JSON of RFC 8259 in UTF-8, with the integer range of I-JSON (RFC 7493).

    The C++ runtime (``json.cpp``) accepts and refuses the same documents.

    Raises:
        ValueError: It is malformed, contains NaN, half of a surrogate pair or an integer beyond
            `MAX_INTEGER`, or is nested more than `MAX_DEPTH` levels deep.
        RecursionError: It is nested so deeply that Python's reader gives up.
    """
    document = text.decode("utf-8") if isinstance(text, bytes) else text
    document.encode("utf-8")
    data = json.loads(document, parse_constant=_refuse_constant, parse_int=_safe_integer)
    level = [data]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                value.encode("utf-8")
            elif isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
        level = below
        if not level:
            return data
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def without_nan(value: Any) -> Any:
    """The same data with ``None`` in place of numbers that JSON cannot hold.

    >>> without_nan({"a": [1.5, float("nan"), float("inf")]})
    {'a': [1.5, None, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _safe_integer(digits: str) -> int:
    """An integer of at most `MAX_INTEGER` in magnitude.

    >>> _safe_integer("-9007199254740991")
    -9007199254740991
    """
    # The length decides first, because int() refuses texts of many thousand digits.
    if len(digits) > len(str(-MAX_INTEGER)) or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(f"an integer is beyond ±{MAX_INTEGER}: {digits[:40]}")
    return int(digits)
