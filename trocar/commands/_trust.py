"""The option `--trust`, which every command that opens a bundle may take.

@click.command()
@trust_option
def command(trust: Path | None) -> None: ...
"""

from __future__ import annotations

from pathlib import Path

import click

trust_option = click.option(
    "--trust",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Refuse a bundle that this public key, or one of these certificates (PEM), did not sign.",
)
