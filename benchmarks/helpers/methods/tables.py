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
        f"{'x'.join(map(str, result['network']['size']))}.",
        f"`{result['command']}`",
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


def gain(values: list[float], base: list[float]) -> str:
    """Mean difference to the baseline and that of each seed."""
    gains = [value - other for value, other in zip(values, base, strict=True)]
    return f": {mean(gains):+.1f} ({', '.join(f'{one:+.1f}' for one in gains)})"


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
        "mean ± deviation over seeds; after the colon the difference to the first variant (each "
        "seed). Last step, batch 4, one CPU thread, light augmentation.\n\n"
    )
    (folder / "methods.md").write_text(head + "\n".join(map(table, known.values())), "utf-8")
