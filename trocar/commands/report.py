"""The command that puts a report together.

trocar report runs/first --evaluation eval/ --bundle first.trocar --out report.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trocar.contract.errors import ConfigError, OutputExistsError

if TYPE_CHECKING:
    from trocar.report.sources import EvaluationFile


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of `trocar evaluate … --out`; may be repeated.",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Bundle whose proof is shown; may be repeated.",
)
@click.option(
    "--latency", type=click.Path(path_type=Path), help="JSON that `trocar run … --metrics` wrote."
)
@click.option("--data", type=click.Path(path_type=Path), help="Data set to describe.")
@click.option("--task", help="Task of --data, where it has several.")
@click.option("--title", default="Trocar report", show_default=True, help="Heading of the page.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def report(
    runs: Sequence[Path],
    evaluations: Sequence[Path],
    bundles: Sequence[Path],
    latency: Path | None,
    data: Path | None,
    task: str | None,
    title: str,
    out: Path,
    overwrite: bool,
) -> None:
    """Write one HTML page about RUNS, evaluations and bundles.

    The page holds everything itself: it opens offline and sends no request.
    """
    if not (runs or evaluations or bundles or latency or data):
        raise ConfigError(
            "there is nothing to report on",
            remedy="name run folders, or pass --evaluation, --bundle, --latency or --data",
        )
    if out.exists() and not overwrite:
        raise OutputExistsError(
            f"{out} exists already", remedy="name another --out, or --overwrite"
        )
    write_report(
        out,
        runs=runs,
        evaluations=evaluations,
        bundles=bundles,
        latency=latency,
        data=data,
        task=task,
        title=title,
    )
    click.echo(f"wrote {out}")


def write_report(
    out: Path,
    *,
    runs: Sequence[Path] = (),
    evaluations: Sequence[Path] = (),
    bundles: Sequence[Path] = (),
    latency: Path | None = None,
    data: Path | None = None,
    task: str | None = None,
    title: str,
) -> None:
    """Reads everything first, then writes the page whole.

    Raises:
        DataError: A folder is not what it should be.
        BundleError: A bundle does not open.
    """
    import json

    from trocar.contract.bundle import PARITY, open_bundle
    from trocar.evaluation.output import environment
    from trocar.report import scores, sections
    from trocar.report.page import Page, tiles
    from trocar.report.sources import read_evaluation, read_latency, read_run

    found_runs = [read_run(path) for path in runs]
    found = [read_evaluation(path) for path in evaluations]
    opened = [open_bundle(path) for path in bundles]
    machine = environment()
    page = Page(title, f"Written {machine['date']}")
    figures = [
        (f"{item.data['scores'][name]:.3f}", f"{name}, {item.data['model']['name']}")
        for item in found
        for name in ("iou_binary", "iou_mean", "accuracy", "macro_f1")
        if item.data["scores"].get(name) is not None
    ]
    if figures:
        page.section("Summary", tiles(figures))
    if found_runs:
        sections.curves(page, found_runs)
    if len({str(item.data.get("task")) for item in found}) == 1 < len(found):
        scores.side_by_side(page, found)
    for item in found:
        show = scores.class_evaluation if _classifies(item) else scores.evaluation
        show(page, item)
    for bundle in opened:
        if PARITY in bundle.manifest.files:
            sections.parity(page, bundle.manifest, json.loads(bundle.read(PARITY)))
    if latency is not None:
        sections.latency(page, read_latency(latency))
    if data is not None:
        from trocar.train.data.tools.check import check_frames

        sections.data_card(page, check_frames(data, task=task).to_dict())
    sections.commands(
        page,
        [
            *(run.command for run in found_runs),
            *(str(item.data.get("command", "")) for item in found),
        ],
        machine,
    )
    page.write(out)


def _classifies(found: EvaluationFile) -> bool:
    return found.data.get("task") == "classification"
