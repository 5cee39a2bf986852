"""The parity gate: what was exported against its reference, on real frames, or it is refused.

    report, worst = check_parity(reference, candidate, frames, manifest, limits=Limits.of("fp16"))
    report.require()      # ParityError with every limit that does not hold

A frame on which one class covers everything proves nothing; without enough others the gate refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trocar.contract.errors import ArgumentError, DataError
from trocar.contract.manifest import Manifest
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Answer, Compared, GateFrame, Infer, ParityReport, WorstFrame

"""``[N,H,W,3]`` uint8 RGB to every output of the model by name."""


def check_parity(
    reference: Infer,
    candidate: Infer,
    frames: Sequence[GateFrame],
    manifest: Manifest,
    *,
    limits: Limits | None = None,
    twin: Infer | None = None,
    names: tuple[str, str] = ("reference", "candidate"),
    progress: Callable[[int, int], None] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> tuple[ParityReport, list[WorstFrame]]:
    """Compares an exported model with its reference.

    Args:
        reference: Gives ``labels`` and ``logits`` (``scores`` and ``embedding``).
        candidate: Gives ``labels`` (``scores`` and ``embedding``).
        frames: At least one.
        manifest: Classes and precision of the exported model.
        limits: By default those of the manifest's precision.
        twin: The candidate with ``logits``; without it logits are not compared.
        names: What reference and candidate are called in the report.
        progress: Called with frames done and frames in all.
        extra: Goes into the report as it is.

    Returns:
        The report, and the three frames with the most differing pixels.

    Raises:
        DataError: There are no frames.
        ArgumentError: A model gives outputs of an unexpected shape.
    """
    from trocar.export.parity.classification import compare_classifiers
    from trocar.export.parity.segmentation import compare_labels

    if not frames:
        raise DataError(
            "the parity gate got no frames", remedy="name a folder of frames with --frames"
        )
    bounds = limits or Limits.of(manifest.precision)
    batches = _run(reference, candidate, twin, frames, progress)
    compare = compare_labels if manifest.task == "segmentation" else compare_classifiers
    parts, worst = compare(batches, manifest, bounds)
    report = ParityReport(
        task=manifest.task,
        precision=manifest.precision,
        reference=names[0],
        candidate=names[1],
        limits=bounds,
        extra=dict(extra or {}),
        **parts,
    )
    return report, worst


def _run(
    reference: Infer,
    candidate: Infer,
    twin: Infer | None,
    frames: Sequence[GateFrame],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Compared]:
    """Runs frames of equal size in twos: a batch of one and a batch of two are both met."""
    done = 0
    for group in _batches(frames):
        images = np.stack([frame.image for frame in group])
        answers = [infer(images) for infer in (reference, candidate)]
        more = twin(images) if twin else None
        for index, frame in enumerate(group):
            done += 1
            yield Compared(
                frame,
                _at(answers[0], index, len(group)),
                _at(answers[1], index, len(group)),
                _at(more, index, len(group)) if more is not None else None,
            )
            if progress:
                progress(done, len(frames))


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


def _at(answer: Answer, index: int, count: int) -> Answer:
    for name, value in answer.items():
        if len(value) != count:
            raise ArgumentError(
                f"output {name!r} has {len(value)} items for a batch of {count}",
                remedy="export with a dynamic batch",
            )
    return {name: value[index] for name, value in answer.items()}
