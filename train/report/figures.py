"""The figures of a run: a sheet of predictions and the learning curves.

write_sheet(rows, table, Path("predictions.png"))
write_curves(history, Path("curves.png"), monitor="iou_mean")
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import write_atomic
from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.media.pictures import encode_picture

Image = NDArray[np.uint8]
SheetRow = tuple[str, Image, "Image | None", Image]
"""Name, frame [H,W,3] RGB, true labels [H,W] or ``None``, predicted labels [H,W]."""

_WIDTH, _GAP, _HEAD = 320, 6, 24
_TEXT_COLOUR = (40, 40, 40)


def write_sheet(rows: Sequence[SheetRow], table: ClassTable, path: Path) -> None:
    """Writes frame, labels and prediction side by side, one frame a row, with a legend."""
    width = 3 * _WIDTH + 4 * _GAP
    parts = [_captions(width)]
    for name, frame, truth, predicted in rows:
        height = max(round(frame.shape[0] * _WIDTH / frame.shape[1]), 1)
        strip = np.full((height + _HEAD, width, 3), 255, np.uint8)
        _write(strip, name[-90:], (_GAP, height + 16), scale=0.4)
        panels = (frame, painted(frame, truth, table), painted(frame, predicted, table))
        for column, panel in enumerate(panels):
            x = _GAP + column * (_WIDTH + _GAP)
            strip[:height, x : x + _WIDTH] = cv2.resize(
                panel, (_WIDTH, height), interpolation=cv2.INTER_AREA
            )
        parts.append(strip)
    parts.append(_legend(width, table))
    write_atomic(path, encode_picture(np.vstack(parts), ".png"))


def painted(frame: Image, labels: Image | None, table: ClassTable) -> Image:
    """Frame with its labels laid over it in their classes' colours; ignored pixels are dimmed."""
    if labels is None:
        return np.full_like(frame, 230)
    known = np.where(labels == IGNORE_INDEX, 0, labels)
    shown = known > 0
    out = frame.astype(np.float32)
    out[shown] = 0.45 * out[shown] + 0.55 * table.colours[known[shown]]
    out[labels == IGNORE_INDEX] *= 0.4
    mixed = out.astype(np.uint8)
    for class_id in np.unique(known[shown]):
        outlines, _ = cv2.findContours(
            (known == class_id).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
        )
        colour = [int(v) for v in table.colours[class_id]]
        cv2.drawContours(mixed, outlines, -1, colour, max(frame.shape[1] // 320, 1))
    return mixed


def write_curves(history: Sequence[Mapping[str, Any]], path: Path, *, monitor: str) -> None:
    """Writes loss terms and validation scores over the steps.

    Args:
        history: Lines of the run's history; see `trocar.train.state.run_folder`.
        path: PNG to write.
        monitor: Score that is drawn strongest.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = [line for line in history if "losses" in line]
    scores = [line for line in history if "scores" in line]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(name for line in losses for name in line["losses"]))
    for name in names if len(names) > 1 else []:
        points = [(li["step"], li["losses"][name]) for li in losses if name in li["losses"]]
        left.plot(*zip(*points, strict=True), lw=1, alpha=0.8, label=name)
    if losses:
        left.plot([li["step"] for li in losses], [li["loss"] for li in losses], "k", lw=1.5,
                  label="loss")  # fmt: skip
        left.legend(frameon=False, fontsize=8)
    left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    shown = list(dict.fromkeys(n for li in scores for n in li["scores"] if _is_shown(n, monitor)))
    for name in shown:
        points = [(li["step"], v) for li in scores if (v := li["scores"].get(name)) is not None]
        if points:
            strong = name == monitor
            look = {"ms": 4, "lw": 2.2} if strong else {"ms": 3, "lw": 1, "alpha": 0.75}
            right.plot(*zip(*points, strict=True), marker="o", label=name, **look)
    right.set(xlabel="step", ylabel="validation score", ylim=(0, 1))
    if scores:
        right.legend(frameon=False, fontsize=8, loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)  # type: ignore[no-untyped-call]
    write_atomic(path, data.getvalue())


def _is_shown(name: str, monitor: str) -> bool:
    if name == monitor:
        return True
    return name.startswith(("iou_", "accuracy")) and name != "iou_background"


def _captions(width: int) -> Image:
    strip = np.full((_HEAD, width, 3), 255, np.uint8)
    for column, text in enumerate(("frame", "labels", "prediction")):
        _write(strip, text, (_GAP + column * (_WIDTH + _GAP), 17), scale=0.5)
    return strip


def _legend(width: int, table: ClassTable) -> Image:
    entries = [row for row in table if row.id > 0]
    columns = max(width // 200, 1)
    lines = -(-len(entries) // columns)
    strip = np.full((lines * _HEAD + _GAP, width, 3), 255, np.uint8)
    for index, row in enumerate(entries):
        x, y = _GAP + index % columns * 200, index // columns * _HEAD + 4
        strip[y : y + 14, x : x + 14] = row.colour
        _write(strip, row.name[:26], (x + 20, y + 12), scale=0.42)
    return strip


def _write(image: Image, text: str, origin: tuple[int, int], *, scale: float) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, _TEXT_COLOUR, 1, cv2.LINE_AA)
