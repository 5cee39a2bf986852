"""Compares the instances of two models: missed and added ones, masks, classes, scores, order.

comparison = compare_instances(outputs, manifest, Limits.of("fp16"))
comparison.failures, comparison.metrics["pairs"]

Instances are paired by the overlap of their pixels. One whose score is as near to the smallest
score as the limit of scores allows may be missed or added: it is a near-tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.instances.pairing import Pair, pair_instances
from trocar.contract.manifest import Manifest
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import (
    Comparison,
    Failure,
    FrameMismatch,
    FrameOutputs,
    Json,
    Outputs,
)

PAIRED = 0.3
"""Smallest IoU of a pair; a pair with less overlap is a missed and an added instance."""

IGNORED_PIXELS = 2
"""A mask may differ by this many pixels at any IoU: one pixel is a large part of a tiny mask."""

_MAX_MISMATCHES = 3


@dataclass
class _Totals:
    """Sums and lists over all frames."""

    rows: list[Json] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    ious: list[tuple[float, str]] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    pairs_of_class: dict[int, list[float]] = field(default_factory=dict)
    pixels: int = 0
    equal_pixels: int = 0
    beyond: int = 0
    ties: int = 0
    mismatches: list[FrameMismatch] = field(default_factory=list)


def compare_instances(
    outputs: Iterable[FrameOutputs], manifest: Manifest, limits: Limits
) -> Comparison:
    """Compares the instances of two models.

    Args:
        outputs: Frames with the outputs of both models.
        manifest: Classes of the exported model, and its smallest score.
        limits: Limits that must hold.

    Raises:
        ArgumentError: Maps of another shape, or class ids beyond the table.
    """
    totals = _Totals()
    least = float(manifest.extra.get("instances", {}).get("score", 0.0))
    for item in outputs:
        _add(totals, item, manifest, limits, least)
    metrics = _metrics(totals)
    return Comparison(
        failures=tuple(_failures(totals, metrics, limits)),
        metrics=metrics,
        classes=tuple(_class_rows(totals, manifest)),
        frames=tuple(totals.rows),
        ground_truth={},
        notes=tuple(_notes(totals, manifest)),
        golden_margin=2 * limits.max_score_difference,
        mismatches=tuple(totals.mismatches),
    )


def _add(
    totals: _Totals, item: FrameOutputs, manifest: Manifest, limits: Limits, least: float
) -> None:
    first, second, name = item.reference, item.candidate, item.frame.name
    _check(first, second, manifest)
    maps = first["instances"], second["instances"]
    pairs = pair_instances(*maps, min_iou=PAIRED)
    excused = np.zeros(maps[0].shape, np.bool_)
    for texts, outputs, numbers, instances in (
        (totals.missed, first, {pair.first for pair in pairs}, maps[0]),
        (totals.added, second, {pair.second for pair in pairs}, maps[1]),
    ):
        for number in np.unique(instances)[np.unique(instances) > 0].tolist():
            if number in numbers:
                continue
            score, pixels = float(outputs["scores"][number - 1]), int((instances == number).sum())
            label = manifest.classes[int(outputs["classes"][number - 1])].name
            if score - least <= limits.max_score_difference or pixels <= IGNORED_PIXELS:
                totals.ties += 1
                excused |= instances == number
            else:
                texts.append(f"{label} {score:.3f} ({pixels} pixels) on {name}")
    for pair in pairs:
        _add_pair(totals, pair, first, second, manifest, name)
    _add_order(totals, second, name)
    _add_counts(totals, first, second, limits, least, name)
    renumbered = np.zeros(256, np.uint8)
    renumbered[[pair.second for pair in pairs]] = [pair.first for pair in pairs]
    equal = (maps[0] == renumbered[maps[1]]) & ~(excused | _unknown(maps[1], pairs))
    counted = maps[0].size - int(excused.sum())
    share = (int(equal.sum()) / counted) if counted else 1.0
    totals.pixels += counted
    totals.equal_pixels += int(equal.sum())
    totals.rows.append(
        {
            "name": name,
            "size": list(item.frame.image.shape[:2]),
            "classes": sorted({int(first["classes"][p.first - 1]) for p in pairs}),
            "informative": bool(maps[0].any()),
            "equal": share,
            "instances": int((np.unique(maps[0]) > 0).sum()),
            "pairs": len(pairs),
            "count": int(first["count"]),
        }
    )
    if share < 1:
        totals.mismatches.append(
            FrameMismatch(
                name=name,
                image=item.frame.image,
                reference=np.asarray(first["labels"], np.uint8),
                candidate=np.asarray(second["labels"], np.uint8),
                equal=share,
            )
        )
        totals.mismatches.sort(key=lambda one: one.equal)
        del totals.mismatches[_MAX_MISMATCHES:]


def _unknown(instances: NDArray[np.uint8], pairs: tuple[Pair, ...]) -> NDArray[np.bool_]:
    """Pixels of instances of the second map that have no pair."""
    is_paired = np.zeros(256, np.bool_)
    is_paired[[0, *(pair.second for pair in pairs)]] = True
    return np.asarray(~is_paired[instances])


def _check(first: Outputs, second: Outputs, manifest: Manifest) -> None:
    for name in ("instances", "labels", "classes", "scores", "boxes", "count"):
        if name not in second or first[name].shape != second[name].shape:
            got = list(second[name].shape) if name in second else "nothing"
            raise ArgumentError(
                f"the exported model gives {name} {got}, expected {list(first[name].shape)}",
                remedy="export again with the size and the maximum of the input spec",
            )
    highest = int(max(first["classes"].max(initial=0), second["classes"].max(initial=0)))
    if highest >= len(manifest.classes):
        raise ArgumentError(
            f"an instance has the class {highest}, but the class table ends at "
            f"{len(manifest.classes) - 1}",
            remedy="give the class table that the model was trained with, row 0 being the "
            "background",
        )


def _add_pair(
    totals: _Totals, pair: Pair, first: Outputs, second: Outputs, manifest: Manifest, name: str
) -> None:
    one, other = pair.first - 1, pair.second - 1
    classes = int(first["classes"][one]), int(second["classes"][other])
    labels = tuple(manifest.classes[index].name for index in classes)
    if classes[0] != classes[1]:
        totals.classes.append(f"{labels[0]} became {labels[1]} on {name}")
    iou = 1.0 if pair.differing <= IGNORED_PIXELS else pair.iou
    totals.ious.append((iou, f"{labels[0]} on {name}"))
    totals.pairs_of_class.setdefault(classes[0], []).append(iou)
    difference = abs(float(first["scores"][one]) - float(second["scores"][other]))
    totals.differences.append(difference if np.isfinite(difference) else np.inf)


def _add_order(totals: _Totals, outputs: Outputs, name: str) -> None:
    """Instances must come by score; a label must be the class of the pixel's instance."""
    scores = np.asarray(outputs["scores"], np.float64)
    if not (scores[:-1] >= scores[1:]).all():
        totals.order.append(f"scores are not in order on {name}")
    class_of = np.concatenate([[0], outputs["classes"]]).astype(np.uint8)
    highest = int(outputs["instances"].max(initial=0))
    if highest >= len(class_of) or (class_of[outputs["instances"]] != outputs["labels"]).any():
        totals.order.append(f"labels are not the classes of the instances on {name}")


def _add_counts(
    totals: _Totals, first: Outputs, second: Outputs, limits: Limits, least: float, name: str
) -> None:
    one, other = int(first["count"]), int(second["count"])
    totals.beyond += one > len(first["scores"])
    near = int((np.abs(first["scores"] - least) <= limits.max_score_difference).sum())
    hidden = one > len(first["scores"])
    if one != other and not hidden and abs(one - other) > near:
        totals.counts.append(f"{other} instead of {one} on {name}")


def _metrics(totals: _Totals) -> dict[str, float]:
    rows = totals.rows
    return {
        "equal": totals.equal_pixels / max(1, totals.pixels),
        "frames": len(rows),
        "instance_frames": sum(bool(row["informative"]) for row in rows),
        "pairs": len(totals.ious),
        "missed_instances": len(totals.missed),
        "added_instances": len(totals.added),
        "class_changes": len(totals.classes),
        "near_ties": totals.ties,
        "min_mask_iou": min((iou for iou, _ in totals.ious), default=1.0),
        "mean_mask_iou": float(np.mean([iou for iou, _ in totals.ious] or [1.0])),
        "max_score_difference": max(totals.differences, default=0.0),
    }


def _class_rows(totals: _Totals, manifest: Manifest) -> Iterator[Json]:
    for entry in manifest.classes.rows[1:]:
        found = totals.pairs_of_class.get(entry.id, [])
        yield {
            "id": entry.id,
            "name": entry.name,
            "pairs": len(found),
            "agreement": float(np.mean(found)) if found else None,
        }


def _failures(totals: _Totals, metrics: dict[str, float], limits: Limits) -> Iterator[Failure]:
    if metrics["instance_frames"] < limits.min_multiclass_frames:
        yield Failure(
            "too_few_instance_frames",
            f"the reference finds instances on {int(metrics['instance_frames'])} of "
            f"{int(metrics['frames'])} frames, expected {limits.min_multiclass_frames}: empty "
            "frames do not show that the models agree",
        )
    if len(totals.missed) > limits.max_missed_instances:
        yield Failure("missed_instances", _listed("instances are missed", totals.missed))
    if len(totals.added) > limits.max_added_instances:
        yield Failure("added_instances", _listed("instances are added", totals.added))
    if totals.classes:
        yield Failure("instance_class", _listed("instances change their class", totals.classes))
    if totals.order:
        yield Failure("instance_order", _listed("outputs do not fit each other", totals.order))
    if totals.counts:
        yield Failure("instance_count", _listed("frames have another count", totals.counts))
    low = [(iou, text) for iou, text in totals.ious if iou < limits.min_instance_iou]
    if low:
        iou, text = min(low)
        yield Failure(
            "mask_iou",
            f"{len(low)} masks have an IoU below {limits.min_instance_iou}, the lowest is "
            f"{iou:.4f} ({text})",
        )
    if metrics["max_score_difference"] > limits.max_score_difference:
        yield Failure(
            "score_difference",
            f"a score differs by {metrics['max_score_difference']:.4g}, expected "
            f"{limits.max_score_difference} at most",
        )
    if metrics["equal"] < limits.min_pixel_agreement and not (totals.missed or totals.added):
        yield Failure(
            "pixel_agreement",
            f"{metrics['equal']:.3%} of pixels belong to the same instance, expected "
            f"{limits.min_pixel_agreement:.3%}",
        )


def _listed(what: str, texts: list[str]) -> str:
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return f"{len(texts)} {what}: {'; '.join(texts[:3])}{more}"


def _notes(totals: _Totals, manifest: Manifest) -> Iterator[str]:
    if totals.ties:
        yield f"{totals.ties} instances at the smallest score are near-ties and were not counted"
    if totals.beyond:
        most = manifest.extra.get("instances", {}).get("max_instances", 0)
        yield (
            f"{totals.beyond} of {len(totals.rows)} frames have more instances than the maximum of "
            f"{most}; the best are kept, and count says how many there are"
        )
    missing = [row.name for row in manifest.classes.rows[1:] if row.id not in totals.pairs_of_class]
    if missing:
        yield f"no frame has {', '.join(missing)}: their parity was not shown"
