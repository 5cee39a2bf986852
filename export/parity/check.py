"""The parity check: an exported model against its reference, on real frames.

    report, mismatches = check_parity(reference, candidate, frames, manifest)
    report.require()      # ParityError with every limit that does not hold

A frame on which one class covers everything does not show that two models agree. Without enough
other frames the check fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from trocar.contract.errors import ArgumentError, DataError
from trocar.contract.manifest import Manifest
from trocar.export.parity.classification import compare_classifiers
from trocar.export.parity.instances.compare import compare_instances
from trocar.export.parity.limits import Limits
from trocar.export.parity.segmentation import compare_labels
from trocar.export.parity.types import (
    FrameMismatch,
    FrameOutputs,
    GateFrame,
    Infer,
    Outputs,
    ParityReport,
)

OnFrame: TypeAlias = Callable[[int, int], None]
"""Called with the number of frames that are done, and of all frames."""


def check_parity(
    reference: Infer,
    candidate: Infer,
    frames: Sequence[GateFrame],
    manifest: Manifest,
    *,
    limits: Limits | None = None,
    with_logits: Infer | None = None,
    names: tuple[str, str] = ("reference", "candidate"),
    on_progress: OnFrame | None = None,
) -> tuple[ParityReport, tuple[FrameMismatch, ...]]:
    """Compares an exported model with its reference.

    Args:
        reference: Returns ``labels`` and ``logits`` (classifiers: ``scores`` and ``embedding``;
            instance models: all their outputs).
        candidate: Returns ``labels`` (classifiers: ``scores`` and ``embedding``).
        frames: One or more frames.
        manifest: Classes and precision of the exported model.
        limits: The limits; ``None`` for those of the manifest's precision.
        with_logits: The candidate with a ``logits`` output; without it, logits are not compared.
        names: What reference and candidate are called in the report.
        on_progress: Called after each frame.

    Returns:
        The report, and the three frames with the most differing pixels.

    Raises:
        DataError: There are no frames.
        ArgumentError: A model returns outputs of an unexpected shape.
    """
    if not frames:
        raise DataError(
            "the parity gate got no frames", remedy="name a folder of frames with --frames"
        )
    bounds = limits or Limits.of(manifest.precision)
    outputs = _run(frames, (reference, candidate, with_logits), on_progress)
    compare = {
        "segmentation": compare_labels,
        "classification": compare_classifiers,
        "instances": compare_instances,
    }[manifest.task]
    found = compare(outputs, manifest, bounds)
    report = ParityReport(
        task=manifest.task,
        precision=manifest.precision,
        reference=names[0],
        candidate=names[1],
        failures=found.failures,
        limits=bounds,
        metrics=found.metrics,
        classes=found.classes,
        frames=found.frames,
        ground_truth=found.ground_truth,
        notes=found.notes,
        golden_margin=found.golden_margin,
    )
    return report, found.mismatches


def _run(
    frames: Sequence[GateFrame],
    models: tuple[Infer, Infer, Infer | None],
    on_progress: OnFrame | None,
) -> Iterator[FrameOutputs]:
    """Runs frames of equal size, the first alone and the others in twos: two sizes of batch."""
    reference, candidate, with_logits = models
    done = 0
    for batch in _batches(frames):
        images = np.stack([frame.image for frame in batch])
        first, second = reference(images), candidate(images)
        logits = with_logits(images) if with_logits else None
        for index, frame in enumerate(batch):
            done += 1
            yield FrameOutputs(
                frame,
                _item_of_batch(first, index, len(batch)),
                _item_of_batch(second, index, len(batch)),
                None if logits is None else _item_of_batch(logits, index, len(batch)).get("logits"),
            )
            if on_progress:
                on_progress(done, len(frames))


def _batches(frames: Sequence[GateFrame]) -> Iterator[list[GateFrame]]:
    by_size: dict[tuple[int, ...], list[GateFrame]] = {}
    for frame in frames:
        if frame.image.ndim != 3 or frame.image.shape[2] != 3 or frame.image.dtype != np.uint8:
            raise ArgumentError(
                f"frame {frame.name} is {frame.image.dtype} {frame.image.shape}, expected uint8 "
                "[H, W, 3]",
                remedy="give RGB frames as they are decoded",
            )
        by_size.setdefault(frame.image.shape, []).append(frame)
    for group in by_size.values():
        yield group[:1]
        for start in range(1, len(group), 2):
            yield group[start : start + 2]


def _item_of_batch(outputs: Outputs, index: int, count: int) -> Outputs:
    for name, value in outputs.items():
        if len(value) != count:
            raise ArgumentError(
                f"output {name!r} has {len(value)} items for a batch of {count}",
                remedy="export with a dynamic batch",
            )
    return {name: value[index] for name, value in outputs.items()}
