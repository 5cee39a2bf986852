"""Reads what the commands wrote and makes the page from it.

sources = ReportSources(runs=(Path("runs/first"),), bundles=(Path("first.trocar"),))
write_report(Path("report.html"), sources, title="First run")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.bundle import PARITY, Bundle, open_bundle
from trocar.evaluation.output import environment
from trocar.report import scores, sections
from trocar.report.page import Page, tiles
from trocar.report.sources import EvaluationFile, Run, read_evaluation, read_latency, read_run

_SUMMARY = ("iou_binary", "iou_mean", "accuracy", "macro_f1")


@dataclass(frozen=True, kw_only=True)
class ReportSources:
    """Paths that a report reads.

    Attributes:
        runs: Run folders of `trocar train`.
        evaluations: Folders of `trocar evaluate --out`.
        bundles: Bundles.
        latency: JSON of `trocar run --metrics`.
        data: Data set.
        task: Task of a data set that has several.
    """

    runs: Sequence[Path] = ()
    evaluations: Sequence[Path] = ()
    bundles: Sequence[Path] = ()
    latency: Path | None = None
    data: Path | None = None
    task: str | None = None

    def __bool__(self) -> bool:
        return bool(self.runs or self.evaluations or self.bundles or self.latency or self.data)


def write_report(out: Path, sources: ReportSources, *, title: str) -> None:
    """Reads all sources first, then writes the page atomically.

    Raises:
        DataError: A folder or file has not the expected content.
        BundleError: A bundle does not open.
    """
    runs = [read_run(path) for path in sources.runs]
    evaluations = [read_evaluation(path) for path in sources.evaluations]
    bundles = [open_bundle(path) for path in sources.bundles]
    latency = None if sources.latency is None else read_latency(sources.latency)
    data_card = None if sources.data is None else _data_card(sources.data, sources.task)
    machine = environment()
    page = Page(title, f"Written {machine['date']}")
    _add_summary(page, evaluations)
    if runs:
        sections.curves(page, runs)
    _add_evaluations(page, evaluations)
    _add_bundles(page, bundles)
    if latency is not None:
        sections.latency(page, latency)
    if data_card is not None:
        sections.data_card(page, data_card)
    sections.commands(page, _commands(runs, evaluations), machine)
    page.write(out)


def _data_card(path: Path, task: str | None) -> Mapping[str, Any]:
    from trocar.train.data.tools.check import check_frames

    return check_frames(path, task=task).to_dict()


def _add_summary(page: Page, evaluations: Sequence[EvaluationFile]) -> None:
    figures = [
        (f"{found.data['scores'][name]:.3f}", f"{name}, {found.data['model']['name']}")
        for found in evaluations
        for name in _SUMMARY
        if found.data["scores"].get(name) is not None
    ]
    if figures:
        page.section("Summary", tiles(figures))


def _add_evaluations(page: Page, evaluations: Sequence[EvaluationFile]) -> None:
    tasks = {str(found.data.get("task")) for found in evaluations}
    if len(tasks) == 1 < len(evaluations):
        scores.side_by_side(page, evaluations)
    for found in evaluations:
        classifies = found.data.get("task") == "classification"
        add = scores.class_evaluation if classifies else scores.evaluation
        add(page, found)


def _add_bundles(page: Page, bundles: Sequence[Bundle]) -> None:
    for bundle in bundles:
        if PARITY in bundle.manifest.files:
            sections.parity(page, bundle.manifest, json.loads(bundle.read(PARITY)))


def _commands(runs: Sequence[Run], evaluations: Sequence[EvaluationFile]) -> list[str]:
    return [
        *(run.command for run in runs),
        *(str(found.data.get("command", "")) for found in evaluations),
    ]
