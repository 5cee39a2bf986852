"""Sign a bundle, so that a session can tell that it is unchanged.

trocar sign model.trocar --key key.pem
"""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=_PATH)
@click.option("--key", type=_PATH, required=True, help="Private key of the signer (PEM).")
@click.option(
    "--certificate",
    type=_PATH,
    help="Certificates (PEM): the signer's first, then those above it.",
)
@click.option(
    "--password",
    envvar="TROCAR_KEY_PASSWORD",
    metavar="TEXT",
    help="Password of the key; better in the variable TROCAR_KEY_PASSWORD.",
)
@click.option("--overwrite", is_flag=True, help="Replace a signature that exists.")
def sign(
    model: Path, key: Path, certificate: Path | None, password: str | None, overwrite: bool
) -> None:
    """Sign MODEL: writes model.sig into the bundle.

    The format is that of OpenSSF model signing. The signature covers every file of the bundle.
    Sign after `trocar export --engine` and `trocar enroll`, which change the bundle.
    """
    from trocar.contract.signatures.keys import is_ed25519, read_chain, read_private_key
    from trocar.contract.signatures.signed_bundle import sign_bundle

    private = read_private_key(key, password)
    chain = () if certificate is None else read_chain(certificate)
    written = sign_bundle(model, private, chain=chain, overwrite=overwrite)
    click.echo(f"{written}: signed")
    if is_ed25519(private.public_key()):
        click.echo("note: the tool model_signing verifies ECDSA only, not Ed25519", err=True)
