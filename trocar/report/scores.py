"""The sections of a report that show evaluations: one, or several side by side.

evaluation(page, read_evaluation(Path("scores")))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trocar.evaluation.metrics.shape_scores import class_columns, mean
from trocar.report import plots
from trocar.report.page import Page, columns, escape, figure, swatch, table
from trocar.report.page import plots as in_a_row
from trocar.report.sections import known
from trocar.report.sources import EvaluationFile


def evaluation(page: Page, found: EvaluationFile) -> None:
    """Scores per class, protocols, confusion, groups, calibration and frames."""
    data = found.data
    scores: Mapping[str, Any] = data["scores"]
    by_class = class_columns(scores, found.names)
    per_class = {prefix + name for prefix in by_class for name in found.names}
    rows = [
        (name, *(known(scores.get(prefix + name)) for prefix in by_class)) for name in found.names
    ]
    intervals = [
        (f"{name}, 95 % interval of the mean over frames", f"{ends[0]:.4f} … {ends[1]:.4f}")
        for name, ends in data.get("intervals", {}).items()
        if ends
    ]
    others = [(n, known(v)) for n, v in scores.items() if n not in per_class]
    calibration = data.get("calibration", {})
    groups = {g: known(s["iou_mean"]) for g, s in data.get("groups", {}).items()}
    foreground = {n: known(scores[f"iou_{n}"]) for n in found.names[1:]}
    charts = [
        plots.bars(foreground, title="IoU per class", xlabel="IoU"),
        plots.confusion_matrix(np.asarray(data["confusion"]), found.names),
    ]
    if groups:
        charts.append(plots.bars(groups, title="mean IoU per video", xlabel="IoU"))
    # A model without a confidence has one point, at 1.
    if len(calibration.get("confidence") or ()) > 1:
        charts.append(
            plots.calibration(
                calibration["confidence"], calibration["accuracy"], known(calibration["ece"])
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
        table(("class", *by_class.values()), rows),
        in_a_row(*charts),
        "<h3>Every score by its exact name</h3>",
        columns(("score", "value"), others),
        table(("interval", "ends"), intervals) if intervals else "",
        *_tracking(data.get("tracking"), data.get("against") or {}),
        *_negative(data.get("negative", [])),
        *_groups(data.get("groups", {})),
        *_against(model, data.get("against")),
    )
    blocks = [
        figure(image, f"largest false area, {name}: frame, truth, prediction")
        for image, name in found.alarms()
    ]
    for kind in ("worst", "median", "best"):
        blocks += [
            figure(image, f"{kind} frame {i}{details}: frame, truth, prediction")
            for i, (image, details) in enumerate(found.images(kind), 1)
        ]
    page.section("Frames", *blocks)


def class_evaluation(page: Page, found: EvaluationFile) -> None:
    """Scores of a classifier, of each class, and its confusion."""
    data = found.data
    model, where, scores = data["model"], data["data"], data["scores"]
    others = [(n, known(v)) for n, v in scores.items() if not n.startswith("recall_")]
    rows = list(data["per_class"])
    head = list(rows[0]) if rows else []
    recalls = {n: known(scores[f"recall_{n}"]) for n in found.names if f"recall_{n}" in scores}
    low, high = data["intervals"]["accuracy"]
    page.section(
        f"Evaluation of {model['name']}",
        f"<p>{escape(model['name'])}, {escape(model['backend'])} {escape(model['precision'])} on "
        f"{escape(model['device'])}; {escape(where['path'])}, split {escape(where['split'])}, "
        f"{where['photos']} photographs.</p>",
        table(("score", "value"), others),
        f"<p>accuracy, 95 % interval: {low:.4f} … {high:.4f}</p>",
        in_a_row(
            plots.bars(recalls, title="recall per class", xlabel="recall") if recalls else "",
            plots.confusion_matrix(np.asarray(data["confusion"]), found.names),
        ),
        table(head, [[_cell(row[name]) for name in head] for row in rows]) if head else "",
    )


def _cell(value: object) -> object:
    """NaN for a null of the JSON file."""
    return float("nan") if value is None else value


def side_by_side(page: Page, found: Sequence[EvaluationFile]) -> None:
    """One column an evaluation, e.g. of each fold, and their mean."""
    shared = [
        name
        for name in found[0].data["scores"]
        if all(name in item.data["scores"] for item in found)
    ]
    per_class = {
        prefix + name
        for prefix in class_columns(found[0].data["scores"], found[0].names)
        for name in found[0].names
    }
    head = [name for name in shared if name not in per_class]
    rows: list[tuple[object, ...]] = [
        (
            item.data["model"]["name"],
            item.data["data"]["split"],
            *(known(item.data["scores"][name]) for name in head),
        )
        for item in found
    ]
    means = [mean(known(item.data["scores"][name]) for item in found) for name in head]
    rows.append(("mean", "", *means))
    table_rows = [(name, *(row[i + 2] for row in rows)) for i, name in enumerate(head)]
    titles = [f"{row[0]}, {row[1]}" if row[1] else str(row[0]) for row in rows]
    page.section("Evaluations side by side", table(("score", *titles), table_rows))


def _groups(groups: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    if not groups:
        return []
    names = list(next(iter(groups.values())))
    rows = [(group, *(known(scores[name]) for name in names)) for group, scores in groups.items()]
    return ["<h3>Per video</h3>", table(("video", *names), rows)]


def _tracking(tracking: Mapping[str, Any] | None, against: Mapping[str, Any]) -> list[str]:
    """Tracking scores of the model, of each video, and of the model that it is compared with."""
    if not tracking:
        return []
    names = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "switches", "identities")
    rows = {"all videos": tracking}
    if len(tracking["videos"]) > 1:
        rows |= tracking["videos"]
    if against.get("tracking"):
        rows[f"all videos, {against['path']}"] = against["tracking"]
    truths = {
        "instances": "A true instrument is an instance of the set.",
        "classes": "Each instrument class counts as one true instrument.",
    }
    crowded = tracking.get("crowded")
    note = f" {crowded} frames show several instruments of a class." if crowded else ""
    return [
        "<h3>Instruments over time</h3>",
        f"<p>{truths[tracking['truth']]} Classes are not compared.{note}</p>",
        table(("video", *names), [(v, *(_cell(row[n]) for n in names)) for v, row in rows.items()]),
    ]


def _negative(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shown = {
        "path": "film or folder",
        "frames": "frames",
        "alarms_per_minute": "alarms a minute",
        "frames_with_alarms": "share of frames with alarms",
        "instruments_per_frame": "instruments a frame",
        "area_percent": "area, % of the frame",
        "largest_percent": "largest, %",
        "pixels_percent": "pixels labelled, %",
    }
    return [
        "<h3>Negative control: pictures without instruments</h3>",
        "<p>Every instrument that is reported here is a false alarm.</p>",
        table(list(shown.values()), [[row[name] for name in shown] for row in rows]),
    ]


def _against(model: Mapping[str, Any], against: Mapping[str, Any] | None) -> list[str]:
    if not against:
        return []
    rows = [
        (
            name,
            row["difference"],
            "{:+.4f} … {:+.4f}".format(*row["interval"]),
            row["wins"],
            row["losses"],
            row["frames"],
            row["verdict"].replace("A is", "this model is").replace("B is", "the second is"),
        )
        for name, row in against["scores"].items()
    ]
    head = ("score", "difference", "95 % interval", "wins", "losses", "frames", "verdict")
    return [
        f"<h3>Compared with {escape(against['path'])}</h3>",
        "<p>Second model minus this model, paired by frame; the interval is a bootstrap over "
        "videos where they are known.</p>",
        table(head, rows),
    ]


def _legend(classes: Sequence[Mapping[str, Any]]) -> str:
    items = (f"{swatch(tuple(row['colour']))}{escape(row['name'])}" for row in classes[1:])
    return f"<p>{' &ensp; '.join(items)}</p>"
