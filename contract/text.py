"""Words for people, taken from what others say.

first_line(error)      # "Unsupported operator"
"""

from __future__ import annotations


def first_line(said: object, *, limit: int = 300) -> str:
    """The first line of an error's or a text's message that is not blank, cut at ``limit``.

    An exception without a message gives its type's name.
    """
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    if lines:
        return lines[0][:limit]
    return type(said).__name__ if isinstance(said, BaseException) else ""
