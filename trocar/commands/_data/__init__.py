"""The commands of ``trocar data``; one file is one command.

with told_to_go_on(): import_frames(frames, out)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def told_to_go_on() -> Iterator[None]:
    """Says after Ctrl-C that the same command continues."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nwhat is finished is kept: the same command continues", err=True)
        raise
