"""The tables of benchmarks/classification.py.

lines = tables(rows)  # rows of classification.json
"""

from __future__ import annotations

from typing import Any

import numpy as np

SCORES = ("accuracy", "macro_f1", "accuracy_many", "accuracy_medium", "accuracy_few")


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: one table for each comparison."""
    lines = ["# Classification", ""]
    for bench in dict.fromkeys(row["bench"] for row in rows):
        own = [row for row in rows if row["bench"] == bench]
        names = SCORES if bench.startswith("long") else ("accuracy",)
        methods = list(dict.fromkeys(row["method"] for row in own))
        seeds = sorted({row["seed"] for row in own})
        lines += [f"## {bench}", ""]
        lines += ["Commands: " + "; ".join(sorted({f"`{row['command']}`" for row in own})), ""]
        lines.append("| method | " + " | ".join(names) + " |" + _interval_head(own))
        lines.append("| --- |" + " --- |" * (len(names) + ("interval" in own[0])))
        for method in methods:
            mine = [row for row in own if row["method"] == method]
            cells = [_spread([row[name] for row in mine]) for name in names]
            if "interval" in own[0]:
                cells.append(
                    ", ".join(
                        f"{100 * r['accuracy']:.1f} ± {100 * r['interval']:.1f}" for r in mine
                    )
                )
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        lines += ["", f"Mean and deviation over seeds {', '.join(map(str, seeds))}.", ""]
    return lines


def _interval_head(rows: list[dict[str, Any]]) -> str:
    return " each seed, 95 % over episodes |" if "interval" in rows[0] else ""


def _spread(values: list[float]) -> str:
    array = 100 * np.array(values, np.float64)
    spread = array.std(ddof=1) if len(array) > 1 else 0.0
    return f"{array.mean():.1f} ± {spread:.1f}"
