"""Parameter types that several commands share.

@click.option("--size", type=SizeType(), default="640x512")  # arrives as (512, 640)
"""

from __future__ import annotations

import click


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """A picture size, written as WIDTHxHEIGHT; the command receives ``(height, width)``."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value; click would write it in capitals."""
        return "WIDTHxHEIGHT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Reads ``640x512`` as ``(512, 640)``; a tuple is returned as it is.

        Raises:
            click.BadParameter: The text is not two positive whole numbers joined by ``x``.
        """
        if isinstance(value, tuple):
            return value
        width, cross, height = str(value).lower().partition("x")
        if not (cross and _is_positive(width) and _is_positive(height)):
            self.fail(f"{value!r} is not a size: write WIDTHxHEIGHT, e.g. 640x512", param, ctx)
        return int(height), int(width)


def _is_positive(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0
