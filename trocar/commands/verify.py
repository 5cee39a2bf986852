"""Verify the signature of a bundle, without a network.

trocar verify model.trocar --trust key.pub
"""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=_PATH)
@click.option(
    "--trust",
    type=_PATH,
    required=True,
    help="The signer's public key, or trusted certificates (PEM).",
)
def verify(model: Path, trust: Path) -> None:
    """Verify that MODEL is the bundle that was signed; exit code 5 if not."""
    from trocar.contract.bundle import open_bundle
    from trocar.contract.signatures.signed_bundle import verify_bundle

    verify_bundle(open_bundle(model), trust)
    click.echo(f"{model}: signed by the key of {trust}, unchanged")
