"""Compares two models on the same frames.

differences = compare(first, second)           # by score: "iou_binary", "iou_mean"
differences["iou_mean"].verdict                # "B is better"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trocar.evaluation.metrics.bootstrap import PairedDifference, paired

if TYPE_CHECKING:
    from trocar.evaluation.scoring import Evaluation


def compare(first: Evaluation, second: Evaluation) -> dict[str, PairedDifference]:
    """Differences ``second - first`` of the per-frame scores, with 95 % intervals, by score."""
    return {
        key: paired(
            [getattr(frame, key) for frame in first.frames],
            [getattr(frame, key) for frame in second.frames],
            groups=[frame.group for frame in first.frames],
        )
        for key in ("iou_binary", "iou_mean")
    }


def comparison_to_dict(path: Path, differences: Mapping[str, PairedDifference]) -> dict[str, Any]:
    """JSON-ready form of a comparison with the model at a path."""
    rows = {
        f"frame_{key}": {
            "difference": result.mean,
            "interval": [result.low, result.high],
            "wins": result.wins,
            "losses": result.losses,
            "frames": result.frames,
            "verdict": result.verdict,
        }
        for key, result in differences.items()
        if result.frames
    }
    return {"path": str(path), "scores": rows}
