"""Print the contents of a bundle: model, input, outputs, classes, engines.

trocar inspect model.trocar
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from trocar.commands._trust import trust_option


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(model: Path, trust: Path | None, as_json: bool) -> None:
    """Prints model, input, outputs, classes and engines of MODEL.

    The hash of every file in the bundle is checked first.
    """
    from trocar.contract.bundle import open_bundle

    bundle = open_bundle(model)
    if trust is not None:
        from trocar.contract.signatures.signed_bundle import verify_bundle

        verify_bundle(bundle, trust)
    if as_json:
        click.echo(json.dumps(bundle.manifest.to_dict(), indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    from trocar.console.run import bundle_tables, engine_tables

    screen = Console()
    for table in [*bundle_tables(bundle), *engine_tables(bundle)]:
        screen.print(table)
