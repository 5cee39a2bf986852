"""List the content and all faults of a data set.

trocar data check our_theatre/
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from trocar.console.progress import progress_bar
from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", help="What the masks distinguish: binary, parts, type, …")
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    help="Class table, for sets that have none of their own.",
)
@click.option("--layout", help="Layout to read, e.g. folder; by default it is recognised.")
@click.option("--workers", default=2, show_default=True, help="Threads that decode.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    folder: Path,
    task: str | None,
    classes: Path | None,
    layout: str | None,
    workers: int,
    as_json: bool,
) -> None:
    """List what the data set FOLDER holds, and every fault in it.

    Reads every frame and mask. The exit code is 3 when there are faults.
    """
    from trocar.console.data import print_check_report
    from trocar.train.data.sample import remedies
    from trocar.train.data.tools.check import check_frames

    table = ClassTable.read(classes) if classes else None
    with progress_bar("reading") as bar:
        report = check_frames(
            folder, table=table, task=task, layout=layout, workers=workers, progress=bar.update
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_check_report(report, Console())
    if report.faults:
        raise DataError(
            f"{folder} has {len(report.faults)} fault(s), listed above",
            remedy=f"{remedies(report.faults)}, then run the check again",
        )
