"""The sections of a report; each shows the files of one command.

curves(page, [read_run(Path("runs/first"))])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trocar.contract.manifest import Manifest
from trocar.contract.text.licences import WHAT, licence_warnings, licences_of
from trocar.report import plots
from trocar.report.page import Page, code, escape, table, tiles
from trocar.report.page import plots as side_by_side
from trocar.report.sources import Run

_CURVE_SCORES = ("iou_binary", "iou_mean", "accuracy", "macro_f1", "false_alarm_rate")


def curves(page: Page, runs: Sequence[Run]) -> None:
    """Loss and validation curves: one run in detail, or several runs side by side."""
    if len(runs) == 1:
        run = runs[0]
        charts = (
            plots.learning_curves(run.losses(), title="training loss", ylabel="loss"),
            plots.learning_curves(
                run.scores(_CURVE_SCORES), title="validation", ylabel="score (0..1)"
            ),
        )
    else:
        charts = (
            plots.learning_curves(
                {run.name: run.losses().get("loss", []) for run in runs},
                title="training loss",
                ylabel="loss",
            ),
            plots.learning_curves(
                {run.name: next(iter(run.scores((best_by(run),)).values()), []) for run in runs},
                title=f"validation {best_by(runs[0])}",
                ylabel="score (0..1)",
            ),
        )
    page.section("Training", _run_table(runs), _false_alarms(runs), side_by_side(*charts))


def best_by(run: Run) -> str:
    """Name of the score that selected the best checkpoint of the run."""
    return str(run.metrics.get("best_by", "iou_mean"))


def _run_table(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        best = run.metrics.get("best", {})
        score = best.get("scores", {}).get(best_by(run))
        rows.append(
            (
                run.name,
                run.metrics.get("method", "not finished"),
                run.metrics.get("steps", "–"),
                best.get("step", "–"),
                best_by(run),
                float("nan") if score is None else score,
                run.metrics.get("seconds", float("nan")),
                run.metrics.get("device", "–"),
            )
        )
    head = ("run", "method", "steps", "best step", "best by", "score", "seconds", "device")
    return table(head, rows)


def _false_alarms(runs: Sequence[Run]) -> str:
    """What the best checkpoint reports on validation frames without instruments."""
    rows = []
    for run in runs:
        scores = run.metrics.get("best", {}).get("scores", {})
        if scores.get("false_alarm_rate") is not None:
            rows.append((run.name, scores["false_alarm_rate"], 100 * scores["false_alarm_area"]))
    if not rows:
        return ""
    head = ("run", "frames with a false alarm", "area, % of the frame")
    return "<h3>Validation frames without instruments</h3>" + table(head, rows)


def parity(page: Page, manifest: Manifest, report: Mapping[str, Any]) -> None:
    """Measurements of the parity gate at export."""
    numbers = report["numbers"]
    figures = [
        (f"{numbers['equal']:.4%}", f"equal to {report['reference']}"),
        (str(numbers["frames"]), "frames compared"),
        (manifest.precision, "precision"),
    ]
    if "largest_logit_difference" in numbers:
        figures.append((f"{numbers['largest_logit_difference']:.2g}", "largest logit difference"))
    sizes = report.get("extra", {}).get("onnx_bytes", {})
    figures += [(f"{size / 1e6:.1f} MB", f"{name} model") for name, size in sizes.items()]
    rows = [
        (
            row["name"],
            known(row.get("agreement")),
            known(row.get("boundary_f")),
            row.get("pixels", row.get("frames", "–")),
        )
        for row in report["classes"]
    ]
    times = report.get("extra", {}).get("milliseconds", {})
    licences = licences_of(manifest.source)
    said = [*report.get("notes", ()), *licence_warnings(licences)]
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in said)
    page.section(
        f"Verification of {manifest.name}",
        tiles(figures),
        table(("class", "agreement", "boundary F-score", "pixels"), rows),
        table(("one frame, median", "ms"), list(times.items())) if times else "",
        table(("of", "licence"), [(WHAT[name], text) for name, text in licences.items()])
        if licences
        else "",
        notes,
    )


def latency(page: Page, stages: Mapping[str, Any]) -> None:
    """Milliseconds per stage of a run over a video."""
    columns = ("p50", "p95", "p99", "max")
    rows = [
        (name, *(float(values[c]) for c in columns))
        for name, values in stages.items()
        if all(c in values for c in columns)
    ]
    if rows:
        bars = plots.bars(
            {str(name): float(values["p50"]) for name, values in stages.items() if "p50" in values},
            title="median per stage",
            xlabel="ms",
        )
        page.section("Latency", table(("stage", *(f"{c} ms" for c in columns)), rows), bars)


def data_card(page: Page, card: Mapping[str, Any]) -> None:
    """Content of a data set: the result of `trocar data check`."""
    rows = [
        (row["id"], row["name"], row["frames"], row["pixels"], row["share"])
        for row in card["classes"]
    ]
    facts = [
        ("layout", card["layout"]),
        ("task", card["task"] or "–"),
        ("frames", f"{card['frames']}, {card['labelled']} labelled"),
        ("sizes", ", ".join(f"{size} ({n})" for size, n in card["sizes"].items())),
        ("splits", ", ".join(f"{name} {n}" for name, n in card["splits"].items()) or "none"),
        ("groups", str(len(card["groups"]))),
        ("folds of its protocol", str(len(card["folds"]))),
        ("instance maps", "yes" if card["instances"] else "no"),
        ("faults", str(len(card["faults"]))),
    ]
    page.section(
        f"Data set {card['name']}",
        table(("", ""), facts),
        table(("id", "class", "frames", "pixels", "share"), rows),
    )


def commands(page: Page, lines: Sequence[str], environment: Mapping[str, str]) -> None:
    """The command lines and the machine."""
    listed = "\n".join(dict.fromkeys(line for line in lines if line))
    page.section(
        "How to repeat it",
        code(listed) if listed else "",
        table(("", ""), list(environment.items())),
    )


def known(value: float | None) -> float:
    """A number of a JSON file; null becomes NaN."""
    return float("nan") if value is None else float(value)
