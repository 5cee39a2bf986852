"""Check, make and convert data sets.

trocar data check our_theatre/
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.commands._by_file import CommandsByFile


@click.group(
    cls=CommandsByFile,
    folder=Path(__file__).parent / "_data",
    package="trocar.commands._data",
)
def data() -> None:
    """Check, make and convert data sets."""
