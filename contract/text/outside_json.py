"""JSON of other programs: as lenient as `json`, but without errors that no caller expects.

load_json(b'{"images": []}')      # {'images': []}
"""

from __future__ import annotations

import json
import re
from typing import Any

_DIGITS = re.compile(r"-?[0-9]{1,19}")


LARGEST = 2**63 - 1


def whole(value: object, what: str) -> int:
    """A whole number of another program's JSON: ``3``, ``3.0`` or ``"3"``; not ``1.9`` or ``true``.

    Args:
        value: What the JSON holds.
        what: What it should be, for the error.

    Raises:
        ValueError: It is no whole number, or larger than 64 bits hold.

    >>> whole(3.0, "the height")
    3
    """
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
    if isinstance(number, float) and number.is_integer():
        number = int(number) if abs(number) <= LARGEST else number
    if type(number) is not int or abs(number) > LARGEST:
        raise ValueError(f"{what} is {repr(value)[:40]}, expected a whole number")
    return number


def load_json(text: str | bytes) -> Any:
    """Parses JSON as `json.loads` does; NaN and infinities are taken.

    Raises:
        ValueError: It is no JSON, or is nested more deeply than Python can read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
