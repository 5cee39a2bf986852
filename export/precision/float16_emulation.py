"""The gate's second comparison of float16: every float16 tensor is rounded, as it is on a GPU.

report, mismatches = add_float16_emulation(report, mismatches, model=with_logits_output(data),
                                           frames=frames, manifest=manifest, reference=infer)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trocar.contract.manifest import Manifest
from trocar.export.parity.check import check_parity
from trocar.export.parity.types import (
    Failure,
    FrameMismatch,
    GateFrame,
    Infer,
    ParityReport,
    metrics_to_dict,
)
from trocar.export.precision.float16 import emulate_float16

_LOGITS = ("max_logit_difference", "mean_logit_difference")
_NOTE = (
    "logit differences are those of float16 arithmetic, emulated layer by layer: ONNX Runtime "
    "computes float16 layers in float32 on CPUs"
)


def add_float16_emulation(
    report: ParityReport,
    mismatches: tuple[FrameMismatch, ...],
    *,
    model: bytes,
    frames: Sequence[GateFrame],
    manifest: Manifest,
    reference: Infer,
) -> tuple[ParityReport, tuple[FrameMismatch, ...]]:
    """Adds to a report what the gate finds when every float16 tensor is rounded.

    Args:
        report: The result with ONNX Runtime's own kernels.
        mismatches: Its mismatches.
        model: The float16 graph, with a ``logits`` output.
        frames: Frames of the gate.
        manifest: Classes of the exported model.
        reference: Runs the reference.

    Returns:
        The report with the failures and logit differences of the emulation, and the mismatches of
        whichever comparison has more failures.
    """
    rounded = emulate_float16(model)
    emulated, emulated_mismatches = check_parity(
        reference,
        rounded,
        frames,
        manifest,
        limits=report.limits,
        with_logits=rounded if manifest.task == "segmentation" else None,
        names=(report.reference, "float16 arithmetic"),
    )
    failures = [
        Failure(failure.code, f"in float16 arithmetic: {failure.text}")
        for failure in emulated.failures
        if failure not in report.failures
    ]
    logits = {name: emulated.metrics[name] for name in _LOGITS if name in emulated.metrics}
    merged = replace(
        report,
        failures=(*report.failures, *failures),
        metrics={**report.metrics, **logits},
        extra={**report.extra, "float16_arithmetic": metrics_to_dict(emulated.metrics)},
        notes=(*report.notes, _NOTE),
    )
    worse = len(emulated.failures) > len(report.failures)
    return merged, emulated_mismatches if worse else mismatches
