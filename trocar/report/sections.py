"""The sections of a report, each made of what one command left behind.

curves(page, runs); evaluation(page, read_evaluation(path)); parity(page, bundle)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trocar.contract.manifest import Manifest
from trocar.report import plots
from trocar.report.page import Page, code, escape, picture, swatch, table, tiles
from trocar.report.page import plots as side_by_side
from trocar.report.sources import EvaluationFile, Run

_CURVE_SCORES = ("iou_binary", "iou_mean", "accuracy", "macro_f1")
_PER_CLASS = ("iou_", "dice_")


def curves(page: Page, runs: Sequence[Run]) -> None:
    """Loss and validation curves: one run in detail, several runs beside each other."""
    if len(runs) == 1:
        run = runs[0]
        made = (
            plots.learning_curves(run.losses(), title="training loss", ylabel="loss"),
            plots.learning_curves(
                run.scores(_CURVE_SCORES), title="validation", ylabel="score (0..1)"
            ),
        )
    else:
        made = (
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
    page.section("Training", _run_table(runs), side_by_side(*made))


def best_by(run: Run) -> str:
    """Name of the score that chose the run's best checkpoint."""
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


def evaluation(page: Page, found: EvaluationFile) -> None:
    """Scores per class, protocols, confusion, groups, calibration and frames."""
    data = found.data
    scores: Mapping[str, Any] = data["scores"]
    per_class = {f"{kind}{name}" for kind in _PER_CLASS for name in found.names}
    rows = [
        (name, _known(scores[f"iou_{name}"]), _known(scores[f"dice_{name}"]))
        for name in found.names
    ]
    intervals = [
        (f"{name}, 95 % interval of the mean over frames", f"{ends[0]:.4f} … {ends[1]:.4f}")
        for name, ends in data.get("intervals", {}).items()
        if ends
    ]
    others = [(n, _known(v)) for n, v in scores.items() if n not in per_class]
    calibration = data.get("calibration", {})
    groups = {g: _known(s["iou_mean"]) for g, s in data.get("groups", {}).items()}
    foreground = {n: _known(scores[f"iou_{n}"]) for n in found.names[1:]}
    made = [
        plots.bars(foreground, title="IoU per class", xlabel="IoU"),
        plots.confusion_matrix(np.asarray(data["confusion"]), found.names),
    ]
    if groups:
        made.append(plots.bars(groups, title="mean IoU per video", xlabel="IoU"))
    if calibration.get("confidence"):
        made.append(
            plots.calibration(
                calibration["confidence"], calibration["accuracy"], _known(calibration["ece"])
            )
        )
    model, where = data["model"], data["data"]
    lead = (
        f"<p>{escape(model['name'])}, {escape(model['backend'])} {escape(model['precision'])} on "
        f"{escape(model['device'])}; {escape(where['path'])}, split {escape(where['split'])}, "
        f"{where['frames']} frames.</p>"
    )
    page.section(
        f"Evaluation of {model['name']}",
        lead,
        _legend(data["classes"]),
        table(("class", "IoU", "Dice"), rows),
        side_by_side(*made),
        "<h3>Every score by its exact name</h3>",
        table(("score", "value"), others),
        table(("interval", "ends"), intervals) if intervals else "",
    )
    blocks = []
    for kind in ("worst", "median", "best"):
        blocks += [
            picture(image, f"{kind} frame {i}: frame, truth, prediction")
            for i, image in enumerate(found.pictures(kind), 1)
        ]
    page.section("Frames", *blocks)


def parity(page: Page, manifest: Manifest, proof: Mapping[str, Any]) -> None:
    """What the gate measured when the bundle was exported."""
    numbers = proof["numbers"]
    figures = [
        (f"{numbers['equal']:.4%}", f"equal to {proof['reference']}"),
        (str(numbers["frames"]), "frames compared"),
        (manifest.precision, "precision"),
    ]
    if "largest_logit_difference" in numbers:
        figures.append((f"{numbers['largest_logit_difference']:.2g}", "largest logit difference"))
    sizes = proof.get("extra", {}).get("onnx_bytes", {})
    figures += [(f"{size / 1e6:.1f} MB", f"{name} model") for name, size in sizes.items()]
    rows = [
        (
            row["name"],
            _known(row.get("agreement")),
            _known(row.get("boundary_f")),
            row.get("pixels", row.get("frames", "–")),
        )
        for row in proof["classes"]
    ]
    times = proof.get("extra", {}).get("milliseconds", {})
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in proof.get("notes", ()))
    page.section(
        f"Proof of {manifest.name}",
        tiles(figures),
        table(("class", "agreement", "boundary F-score", "pixels"), rows),
        table(("one frame, median", "ms"), list(times.items())) if times else "",
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
    """What a data set holds: the result of `trocar data check`."""
    rows = [
        (row["id"], row["name"], row["frames"], row["pixels"], row["share"])
        for row in card["classes"]
    ]
    facts = [
        ("layout", card["layout"]),
        ("frames", f"{card['frames']}, {card['labelled']} labelled"),
        ("sizes", ", ".join(f"{size} ({n})" for size, n in card["sizes"].items())),
        ("splits", ", ".join(f"{name} {n}" for name, n in card["splits"].items()) or "none"),
        ("groups", str(len(card["groups"]))),
        ("faults", str(len(card["faults"]))),
    ]
    page.section(
        f"Data set {card['name']}",
        table(("", ""), facts),
        table(("id", "class", "frames", "pixels", "share"), rows),
    )


def commands(page: Page, lines: Sequence[str], environment: Mapping[str, str]) -> None:
    """The exact commands and the machine."""
    listed = "\n".join(dict.fromkeys(line for line in lines if line))
    page.section(
        "How to repeat it",
        code(listed) if listed else "",
        table(("", ""), list(environment.items())),
    )


def _legend(classes: Sequence[Mapping[str, Any]]) -> str:
    items = (f"{swatch(tuple(row['colour']))}{escape(row['name'])}" for row in classes[1:])
    return f"<p>{' &ensp; '.join(items)}</p>"


def _known(value: float | None) -> float:
    return float("nan") if value is None else float(value)
