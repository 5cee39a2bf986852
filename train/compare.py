"""``trocar compare RECIPE… --seeds 3``: the same data, split, steps and encoder; mean and spread.

trocar compare supervised cross_consistency --data frames/ --label-share 0.1 --out runs/few
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError, TrainingError
from trocar.contract.toml import read_toml
from trocar.train.recipes import recipe_path
from trocar.train.state.run_folder import METRICS

SAME = ("steps", "epochs", "encoder", "size", "batch_size")
"""Settings that must be equal for a comparison to mean something."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recipe of a comparison.

    Attributes:
        name: Its file's stem.
        path: The file.
        method: The method that it is for.
        settings: What it says.
    """

    name: str
    path: Path
    method: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe's result.

    Attributes:
        name: The recipe.
        scores: The score of each seed, in order.
        seconds: Training time of each seed.
    """

    name: str
    scores: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return mean(self.scores)

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds; 0 for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0


def overrides(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts to values by name.

    Raises:
        ConfigError: A text has no equals sign.
    """
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise ConfigError(f"--set {wrong[0]!r} has no value", remedy="write --set NAME=VALUE")
    pairs = (text.split("=", 1) for text in given)
    return {name.strip().replace("-", "_"): value.strip() for name, value in pairs}


def read_entries(recipes: Sequence[str | Path], given: Mapping[str, Any]) -> list[Entry]:
    """Reads the recipes and refuses comparisons that would not be fair.

    Raises:
        ConfigError: A recipe names no method, two have one name, or settings in `SAME` differ.
    """
    entries = []
    for name in recipes:
        path = recipe_path(name)
        settings = {**read_toml(path), **given}
        method = settings.pop("method", None)
        if not isinstance(method, str):
            raise ConfigError(f"{path} names no method", remedy='write method = "supervised" in it')
        entries.append(Entry(name=path.stem, path=path, method=method, settings=settings))
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ConfigError("two recipes have the same file name", remedy="rename one of them")
    for name in SAME:
        values = {str(entry.settings.get(name)) for entry in entries}
        if len(values) > 1:
            raise ConfigError(
                f"{name} differs between the recipes: {', '.join(sorted(values))}",
                remedy=f"give all the same, e.g. with --set {name}=…",
            )
    return entries


def collect(name: str, folders: Sequence[Path], metric: str, pick: str) -> Row:
    """Reads the finished runs of one recipe.

    Raises:
        TrainingError: A run has no ``metrics.json``.
        ConfigError: There is no such score.
    """
    scores, seconds = [], []
    for folder in folders:
        file = folder / METRICS
        if not file.is_file():
            raise TrainingError(
                f"{folder} did not finish", remedy="look at its output; call again to go on"
            )
        metrics = json.loads(file.read_text(encoding="utf-8"))
        found = metrics[pick]["scores"]
        if found.get(metric) is None:
            raise ConfigError(
                f"{file} has no score {metric!r}", remedy=f"choose one of {', '.join(found)}"
            )
        scores.append(float(found[metric]))
        seconds.append(float(metrics["seconds"]))
    return Row(name=name, scores=tuple(scores), seconds=tuple(seconds))


def table(rows: Sequence[Row], *, metric: str) -> str:
    """The comparison as a Markdown table; differences are to the first recipe, paired by seed."""
    lines = [
        f"| recipe | {metric}, mean ± spread | each seed | difference to {rows[0].name} | time |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        pairs = [a - b for a, b in zip(row.scores, rows[0].scores, strict=True)]
        difference = "" if row is rows[0] else f"{mean(pairs):+.3f} ({_signs(pairs)})"
        each = ", ".join(f"{score:.3f}" for score in row.scores)
        share = mean(row.seconds) / max(mean(rows[0].seconds), 1e-9)
        lines.append(
            f"| {row.name} | {row.mean:.3f} ± {row.spread:.3f} | {each} | {difference} "
            f"| {share:.2f} x |"
        )
    return "\n".join(lines)


def write_plot(rows: Sequence[Row], path: Path, *, metric: str) -> None:
    """Draws every seed as a dot and the mean as a bar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.6 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(rows)))[::-1]
    axes.barh(places, [row.mean for row in rows], height=0.55, color="#9ecae1",
              xerr=[row.spread for row in rows], ecolor="#555", capsize=3)  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        axes.plot(row.scores, [place] * len(row.scores), "o", ms=4, color="#08519c")
    axes.set_yticks(places, [row.name for row in rows])
    axes.set(xlabel=f"{metric}: mean, spread and each seed", xlim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)  # type: ignore[no-untyped-call]
    write_atomic(path, data.getvalue())


def _signs(pairs: Sequence[float]) -> str:
    return f"{sum(p > 0 for p in pairs)} of {len(pairs)} seeds better"
