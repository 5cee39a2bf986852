"""Plots for print and for colour-blind readers: Okabe-Ito palette, and markers on lines.

svg = learning_curves({"loss": [(1, 2.0), (2, 1.5)]}, title="loss", ylabel="loss")

Each function returns SVG. Text stays text: files are small, searchable and embed no font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#7b7b7b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trocar",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6675",
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "axes.axisbelow": True,
}

Curve = Sequence[tuple[float, float]]


def learning_curves(
    curves: Mapping[str, Curve], *, title: str, ylabel: str, xlabel: str = "step"
) -> str:
    """One line a name over training steps; lines differ in colour and in marker."""
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(5.1, 3.0), layout="constrained")
        axes = figure.subplots()
        for i, (name, points) in enumerate(curves.items()):
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(
                x,
                y,
                color=PALETTE[i % len(PALETTE)],
                marker=MARKERS[i % len(MARKERS)],
                markevery=max(1, len(x) // 12),
                markersize=4,
                linewidth=1.6,
                label=name,
            )
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        if len(curves) > 1:
            axes.legend(frameon=False)
        return _svg(figure)


def confusion_matrix(matrix: NDArray[Any], names: Sequence[str]) -> str:
    """Row-normalised confusion (rows truth, columns prediction) with the fraction in each cell."""
    counts = np.asarray(matrix, dtype=float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(3.4, 0.62 * len(names) + 1.6)
    with matplotlib.rc_context({**_RC, "axes.grid": False}):
        figure = Figure(figsize=(size + 0.6, size), layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if len(names) <= 16:
            for (row, column), value in np.ndenumerate(share):
                if value >= 0.005:
                    axes.text(
                        column,
                        row,
                        f"{value:.2f}",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if value > 0.55 else "#1c2430",
                    )
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(title="confusion (fraction of true pixels)", xlabel="predicted", ylabel="true")
        return _svg(figure)


def bars(
    values: Mapping[str, float],
    *,
    title: str,
    xlabel: str,
    errors: Mapping[str, float] | None = None,
) -> str:
    """Horizontal bars with their values beside them; NaN has no bar."""
    names = list(values)
    heights = [0.0 if v != v else v for v in values.values()]
    spread = None if errors is None else [errors.get(name, 0.0) for name in names]
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(5.1, 0.34 * len(names) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh(names, heights, color=PALETTE[0], height=0.62, xerr=spread)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        for i, value in enumerate(values.values()):
            text = "–" if value != value else f"{value:.3f}" if value < 10 else f"{value:.1f}"
            axes.annotate(
                text, (heights[i], i), xytext=(4, 0), textcoords="offset points", va="center"
            )
        axes.set(title=title, xlabel=xlabel)
        axes.margins(x=0.16)
        axes.set_xlim(left=0)
        return _svg(figure)


def calibration(confidence: Sequence[float], accuracy: Sequence[float], ece: float) -> str:
    """Reliability diagram: mean confidence against accuracy of each bin."""
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(3.6, 3.3), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#7b7b7b", linestyle="--", linewidth=1)
        axes.plot(confidence, accuracy, color=PALETTE[0], marker="o", markersize=4)
        axes.set(
            title=f"calibration (ECE {ece:.3f})",
            xlabel="confidence",
            ylabel="accuracy",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        return _svg(figure)


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # matplotlib writes an RDF block with URLs of name spaces; the page must not hold any URL.
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
