"""Words for people, taken from what others say, and the order in which people count.

first_line(error)                                   # "Unsupported operator"
sorted(["10.png", "9.png"], key=natural_key)        # ["9.png", "10.png"]
"""

from __future__ import annotations

import os
import re

_NUMBER = re.compile(r"([0-9]+)")


def first_line(said: object, *, limit: int = 300) -> str:
    """The first line of an error's or a text's message that is not blank, cut at ``limit``.

    An exception without a message gives its type's name.
    """
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    if lines:
        return lines[0][:limit]
    return type(said).__name__ if isinstance(said, BaseException) else ""


def printable_path(path: object) -> str:
    r"""A path as text that every terminal and file takes: bytes that are no UTF-8 as ``\xe9``.

    >>> printable_path("caf\udce9.mp4")
    'caf\\xe9.mp4'
    """
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def natural_key(text: object) -> tuple[list[tuple[int, int, str]], str]:
    """Key for sorting names by the numbers in them: ``f9`` before ``f10``, ``a/2`` before ``a/10``.

    Names that differ in padding alone (``1`` and ``01``) keep one order, that of their characters.
    """
    parts = _NUMBER.split(str(text))
    # Numbers sort before text, as in ASCII; the split puts them at odd places.
    key = [(0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p]
    return key, str(text)
