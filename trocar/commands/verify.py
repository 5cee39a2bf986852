"""Verify the signature of a bundle, or an audit log, without a network.

trocar verify model.trocar --trust key.pub
"""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=_PATH, required=False)
@click.option(
    "--trust",
    type=_PATH,
    help="The signer's public key, or trusted certificates (PEM).",
)
@click.option("--audit", type=_PATH, help="Verify this log of `trocar run --audit`.")
@click.option(
    "--head",
    metavar="HASH",
    help="Hash of a record that was noted elsewhere: the log must hold it.",
)
def verify(model: Path | None, trust: Path | None, audit: Path | None, head: str | None) -> None:
    """Verify that MODEL is the bundle that was signed; exit code 5 if not.

    With --audit FILE, verify that no line of an audit log was changed, removed or moved. Lines that
    were cut off its end are found with --head, the hash that the last run printed.
    """
    if (model is None) != (trust is None) or (model is None and audit is None):
        raise click.UsageError("name MODEL and --trust KEY, or --audit FILE, or all of them")
    if head is not None and audit is None:
        raise click.UsageError("--head is for --audit FILE")
    if model is not None and trust is not None:
        from trocar.contract.bundle import open_bundle
        from trocar.contract.signatures.signed_bundle import verify_bundle

        verify_bundle(open_bundle(model), trust)
        click.echo(f"{model}: signed by the key of {trust}, unchanged")
    if audit is not None:
        from trocar.contract.integrity.audit_log import verify_log

        found = verify_log(audit, head=head)
        click.echo(f"{audit}: {found.records} records, unchanged; the last hash is {found.head}")
        if found.interrupted:
            click.echo(f"records that a crash cut: {found.interrupted}")
        if found.unfinished:
            click.echo(f"runs without an end: {', '.join(found.unfinished)}")
