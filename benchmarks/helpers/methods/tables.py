"""Tables of benchmarks/methods.py: mean and spread over the seeds, and what each seed gained.

    enter(Path("benchmarks/results"), result)  # methods.json and methods.md

A result is one group of variants, as ``compared`` of the program returns it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trocar.train.metrics.paired import over_seeds


def table(result: dict[str, Any]) -> str:
    """A group as Markdown: mean and spread over the seeds, and paired differences to the first."""
    scores = result["scores"]
    base = next(iter(scores.values()))
    judged, columns = list(result["judged"]), list(base)
    compared_on = [judged[0], *(column for column in columns if column not in judged)]
    counts = ", ".join(f"{title}: {count}" for title, count in result["judged"].items())
    lines = [
        f"### {titled(result)}",
        "",
        f"{result['steps']} steps on {result['labelled']} labelled frames; judged on {counts}; "
        f"encoder `{result['network']['encoder']}` from {result['encoder_from']}, "
        f"{'x'.join(map(str, result['network']['size']))}; defaults of "
        f"{result.get('defaults', '0.1')}.",
        f"`{result['command']}`" + (f" ({result['machines']})" if "machines" in result else ""),
        "",
        f"| variant | {' | '.join(columns)} |",
        "| --- " * (len(columns) + 1) + "|",
    ]
    for name, values in scores.items():
        cells = [cell(values[column]) for column in columns]
        if values is not base:
            for index, column in enumerate(columns):
                if column in compared_on:
                    cells[index] += gain(values[column], base[column])
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_WORDS = {"better": "higher", "worse": "lower", "not decided": "not decided"}
"""A lower texture difference is a better one, so that the tables name the direction."""


def gain(values: list[float], base: list[float]) -> str:
    """Mean difference to the baseline, its 95 % interval and verdict, and that of each seed."""
    found = over_seeds(values, base)
    each = ", ".join(f"{one:+.1f}" for one in found.each)
    if len(found.each) == 1:
        return f": {found.mean:+.1f}"
    limits = f"{found.low:+.1f} to {found.high:+.1f}"
    return f": {found.mean:+.1f} ({limits}; {each}), **{_WORDS[found.verdict]}**"


def cell(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values) if len(values) > 1 else 0.0:.1f}"


def titled(result: Mapping[str, Any]) -> str:
    """A group's name with its length."""
    start = ", ImageNet" if result["encoder_from"] == "ImageNet" else ""
    return f"{result['group'][0].upper()}{result['group'][1:]}, {result['steps']} steps{start}"


def enter(folder: Path, result: dict[str, Any]) -> None:
    """Add a group to ``methods.json``, and write the tables of all groups to ``methods.md``."""
    file = folder / "methods.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known[titled(result)] = result
    file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    head = (
        "# Segmentation methods and their baselines\n\nWritten by `benchmarks/methods.py`; what it "
        "means stands in `docs/methods.md`. Mean IoU over classes without background in points, "
        "mean ± deviation over seeds; after the colon the difference to the first variant, with "
        "its 95 % interval by Student's t over the seeds, and that of each seed; *higher* and "
        "*lower* stand where the interval excludes 0. Last step, batch 4, one CPU thread, light "
        "augmentation. Tables of the defaults of 0.1 have cross-consistency and texture entropy "
        "without Dice, and a style transfer without bounds.\n\n"
    )
    (folder / "methods.md").write_text(head + "\n".join(map(table, known.values())), "utf-8")
