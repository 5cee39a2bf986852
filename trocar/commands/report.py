"""Write one HTML page about training runs, evaluations, bundles and latency.

trocar report runs/first --evaluation eval/ --bundle first.trocar --out report.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trocar.contract.errors import ConfigError
from trocar.contract.outputs import check_free, check_outputs


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of `trocar evaluate … --out`; repeatable.  [default: none]",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Bundle whose verification report is shown; repeatable.  [default: none]",
)
@click.option(
    "--latency",
    type=click.Path(path_type=Path),
    help="JSON file of `trocar run … --metrics`.  [default: none]",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Data set to describe.  [default: none]"
)
@click.option("--task", help="Task of --data, where it has several.  [default: its only task]")
@click.option("--title", default="Trocar report", show_default=True, help="Heading of the page.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.")
def report(out: Path, title: str, overwrite: bool, **paths: Any) -> None:
    """Write one HTML page about RUNS, evaluations and bundles.

    The page contains all images and styles: it opens offline and sends no request.
    """
    from trocar.report.write import ReportSources, write_report

    sources = ReportSources(**paths)
    if not sources:
        raise ConfigError(
            "there is nothing to report on: no run folder and no other source was named",
            remedy="name run folders, or pass --evaluation, --bundle, --latency or --data",
        )
    read = [*sources.runs, *sources.evaluations, *sources.bundles, sources.latency, sources.data]
    check_outputs({"--out": out}, inputs=[path for path in read if path is not None])
    check_free(out, overwrite=overwrite)
    write_report(out, sources, title=title)
    click.echo(f"wrote {out}")
