"""Comparing recipes over seeds on the same data, split, steps and encoder.

entries = read_entries(["supervised", "cross_consistency"], {"label_share": 0.1})
comparison = Comparison(data=Path("frames"), out=Path("runs/few"))
for entry, seed in comparison.unfinished(entries, seeds=3):
    run_method(comparison.request(entry, seed))
print(table([comparison.collect(entry.name, 3, "iou_mean", "best") for entry in entries],
            metric="best iou_mean"))
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError, TrainingError
from trocar.contract.text.outside_json import load_json
from trocar.contract.text.toml import read_toml
from trocar.train.fair_comparison import Entry, check_fair
from trocar.train.methods import find_method
from trocar.train.metrics.paired import over_seeds
from trocar.train.recipes import recipe_path
from trocar.train.run import TrainRequest
from trocar.train.state.run_folder import METRICS


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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The data of a comparison and the folder of its runs.

    Attributes:
        data: Labelled set.
        out: Folder of the comparison; a run lies in ``out/<recipe>/seed<n>``.
        unlabelled: Frames without labels, for methods that take them.
        target: Frames of the target domain, for methods that take them.
        validation: Labelled set to validate on instead of the labelled set's own split.
    """

    data: Path
    out: Path
    unlabelled: Path | None = None
    target: Path | None = None
    validation: Path | None = None

    def folder(self, name: str, seed: int) -> Path:
        """Folder of the run of one recipe and seed."""
        return self.out / name / f"seed{seed}"

    def unfinished(self, entries: Sequence[Entry], *, seeds: int) -> list[tuple[Entry, int]]:
        """Recipes and seeds whose run is not finished."""
        return [
            (entry, seed)
            for entry in entries
            for seed in range(seeds)
            if not (self.folder(entry.name, seed) / METRICS).is_file()
        ]

    def request(self, entry: Entry, seed: int, *, command: str = "") -> TrainRequest:
        """The run of one recipe and seed, resumed where its folder exists.

        Raises:
            ConfigError: There is no such method.
        """
        from trocar.train.methods.protocol import accepted_data

        accepted = accepted_data(find_method(entry.method))
        folder = self.folder(entry.name, seed)
        return TrainRequest(
            method=entry.method,
            data=self.data,
            out=folder,
            unlabelled=self.unlabelled if "unlabelled" in accepted else None,
            target=self.target if "target" in accepted else None,
            validation=self.validation,
            settings={**entry.settings, "seed": seed},
            resume=folder.exists(),
            command=command,
        )

    def collect(self, name: str, seeds: int, metric: str, which: str) -> Row:
        """Reads the finished runs of one recipe.

        Args:
            name: The recipe.
            seeds: Number of seeds, from 0.
            metric: Name of the score.
            which: ``best`` for each run's best checkpoint, ``last`` for its last.

        Raises:
            TrainingError: A run has no ``metrics.json``.
            ConfigError: There is no such score.
        """
        scores, seconds = [], []
        for seed in range(seeds):
            file = self.folder(name, seed) / METRICS
            if not file.is_file():
                raise TrainingError(
                    f"the run in {file.parent} did not finish",
                    remedy="read its output, then call the same command again to continue",
                )
            metrics = load_json(file.read_text(encoding="utf-8"))
            scored = metrics[which]["scores"]
            if scored.get(metric) is None:
                raise ConfigError(
                    f"{file} has no score {metric!r}", remedy=f"choose one of {', '.join(scored)}"
                )
            scores.append(float(scored[metric]))
            seconds.append(float(metrics["seconds"]))
        return Row(name=name, scores=tuple(scores), seconds=tuple(seconds))


def read_entries(
    recipes: Sequence[str | Path], given: Mapping[str, Any], *, allowed: Sequence[str] = ()
) -> list[Entry]:
    """Reads the recipes and refuses comparisons that would not be fair.

    Args:
        recipes: Files, or names of recipes that come with Trocar.
        given: Settings of all recipes.
        allowed: Settings that may differ.

    Raises:
        ConfigError: A recipe names no method, two have one name, or see `check_fair`.
    """
    entries = []
    for name in recipes:
        path = recipe_path(name)
        settings = dict(read_toml(path))
        if "steps" in given and "epochs" not in given:
            settings.pop("epochs", None)  # they would win over the steps
        settings |= given
        method = settings.pop("method", None)
        if not isinstance(method, str):
            raise ConfigError(f"{path} names no method", remedy='write method = "supervised" in it')
        entries.append(Entry(name=path.stem, path=path, method=method, settings=settings))
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ConfigError("two recipes have the same file name", remedy="rename one of them")
    check_fair(entries, allowed=allowed)
    return entries


def table(rows: Sequence[Row], *, metric: str) -> str:
    """The comparison as a Markdown table; differences are to the first recipe, paired by seed.

    A recipe is better or worse only where the 95 % interval of its difference excludes 0.
    """
    lines = [
        f"| recipe | {metric}, mean ± spread | each seed | difference to {rows[0].name}, 95 % "
        "interval | verdict | time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        difference = verdict = ""
        if row is not rows[0]:
            found = over_seeds(row.scores, rows[0].scores)
            difference = f"{found.mean:+.3f}"
            if len(found.each) > 1:
                difference += f" ({found.low:+.3f} to {found.high:+.3f})"
            verdict = found.verdict
        each = ", ".join(f"{score:.3f}" for score in row.scores)
        share = mean(row.seconds) / max(mean(rows[0].seconds), 1e-9)
        lines.append(
            f"| {row.name} | {row.mean:.3f} ± {row.spread:.3f} | {each} | {difference} | {verdict} "
            f"| {share:.2f} x |"
        )
    return "\n".join(lines)


def write_plot(rows: Sequence[Row], path: Path, *, metric: str) -> None:
    """Draws every seed as a dot and the mean as a bar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.6 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    positions = list(range(len(rows)))[::-1]
    axes.barh(positions, [row.mean for row in rows], height=0.55, color="#9ecae1",
              xerr=[row.spread for row in rows], ecolor="#555", capsize=3)  # fmt: skip
    for position, row in zip(positions, rows, strict=True):
        axes.plot(row.scores, [position] * len(row.scores), "o", ms=4, color="#08519c")
    axes.set_yticks(positions, [row.name for row in rows])
    axes.set(xlabel=f"{metric}: mean, spread and each seed", xlim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)  # type: ignore[no-untyped-call]
    write_atomic(path, data.getvalue())
