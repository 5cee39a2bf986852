"""The gate's second look at float16: with every half tensor really rounded, as on a GPU.

report, worst = with_real_half(report, worst, reference, candidate, frames, manifest)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trocar.contract.manifest import Manifest
from trocar.export.graph.model_file import twin_from_onnx
from trocar.export.parity.check import check_parity
from trocar.export.parity.types import GateFrame, Infer, ParityReport, WorstFrame
from trocar.export.precision.float16 import rounded_everywhere

_LOGITS = ("largest_logit_difference", "mean_logit_difference")


def with_real_half(
    report: ParityReport,
    worst: list[WorstFrame],
    reference: tuple[Infer, str],
    candidate: bytes,
    frames: Sequence[GateFrame],
    manifest: Manifest,
) -> tuple[ParityReport, list[WorstFrame]]:
    """Adds what the gate finds when every half tensor is rounded, as it is on a GPU."""
    rounded = rounded_everywhere(twin_from_onnx(candidate))
    strict, strict_worst = check_parity(
        reference[0],
        rounded,
        frames,
        manifest,
        limits=report.limits,
        twin=rounded if manifest.task == "segmentation" else None,
        names=(reference[1], "float16 arithmetic"),
    )
    faults = [f"in float16 arithmetic: {f}" for f in strict.faults if f not in report.faults]
    more = {**report.extra, "float16_arithmetic": dict(strict.numbers)}
    merged = replace(
        report,
        faults=(*report.faults, *faults),
        numbers={
            **report.numbers,
            **{k: strict.numbers[k] for k in _LOGITS if k in strict.numbers},
        },
        extra=more,
        notes=(
            *report.notes,
            "logit differences are those of float16 arithmetic, emulated layer by layer: ONNX "
            "Runtime computes float16 layers in float32 on CPUs",
        ),
    )
    return merged, strict_worst if len(strict.faults) > len(report.faults) else worst
