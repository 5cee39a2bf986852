"""What the parity check takes and returns: frames, outputs, failures and the report.

    frame = GateFrame(name="0001", image=image, ground_truth=mask)
    failure = Failure("pixel_agreement", "99.1% of label pixels are equal, expected 99.9%")

The names of the keys in ``parity.json`` are part of the bundle format; `ParityReport.to_dict`
writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ParityError
from trocar.export.parity.limits import Limits

Frame: TypeAlias = NDArray[np.uint8]
"""``[H,W,3]`` uint8 RGB, or ``[N,H,W,3]`` for a batch."""

Output: TypeAlias = NDArray[Any]
"""One output of a model; its dtype differs from output to output."""

Outputs: TypeAlias = Mapping[str, Output]
"""Every output of a model by its name."""

Infer: TypeAlias = Callable[[Frame], Outputs]
"""``[N,H,W,3]`` uint8 RGB to every output of the model by name."""

Json: TypeAlias = dict[str, Any]
"""One object of ``parity.json``."""

FailureCode: TypeAlias = Literal[
    "too_few_multiclass_frames",
    "single_class",
    "pixel_agreement",
    "non_tie_mismatch",
    "max_logit_difference",
    "mean_logit_difference",
    "class_iou",
    "boundary_f1",
    "missed_components",
    "embedding_cosine",
    "accuracy_drop",
    "too_few_instance_frames",
    "missed_instances",
    "added_instances",
    "instance_class",
    "instance_order",
    "instance_count",
    "mask_iou",
    "score_difference",
]
"""Which limit does not hold. The first two say that the frames cannot decide."""

UNSUITABLE_FRAMES: frozenset[FailureCode] = frozenset(
    ("too_few_multiclass_frames", "single_class", "too_few_instance_frames")
)

# Keys of ``numbers`` in parity.json that differ from the names of the metrics.
_METRIC_KEYS = {
    "non_tie_mismatch": "far",
    "max_mismatch_margin": "largest_margin_of_a_differing_pixel",
    "logit_range": "logit_spread",
    "max_logit_difference": "largest_logit_difference",
    "multiclass_frames": "informative_frames",
    "missed_components": "lost_regions",
    "min_embedding_cosine": "least_embedding_cosine",
}


@dataclass(frozen=True, kw_only=True)
class GateFrame:
    """One frame of the parity gate.

    Attributes:
        name: Name for reports.
        image: ``[H,W,3]`` uint8 RGB.
        ground_truth: ``[H,W]`` uint8 class ids (255: ignored), a class id for classifiers, or
            ``None``.
    """

    name: str
    image: Frame
    ground_truth: NDArray[np.uint8] | int | None = None


@dataclass(frozen=True, kw_only=True)
class FrameMismatch:
    """A frame on which the labels of the two models differ.

    Attributes:
        name: The frame's name.
        image: ``[H,W,3]`` uint8 RGB.
        reference: ``[h,w]`` labels of the reference.
        candidate: ``[h,w]`` labels of the exported model.
        equal: Fraction of equal pixels, 0..1.
    """

    name: str
    image: Frame
    reference: NDArray[np.uint8]
    candidate: NDArray[np.uint8]
    equal: float


@dataclass(frozen=True)
class Failure:
    """One limit that does not hold.

    Attributes:
        code: Which limit.
        text: The measured value and the limit, for people.
    """

    code: FailureCode
    text: str


@dataclass(frozen=True)
class FrameOutputs:
    """One frame with the outputs of both models, without the batch dimension.

    Attributes:
        frame: The frame.
        reference: Outputs of the reference.
        candidate: Outputs of the exported model.
        logits: Logits of the exported model, ``[K,h,w]`` float32, or ``None``.
    """

    frame: GateFrame
    reference: Outputs
    candidate: Outputs
    logits: Output | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was measured over all frames; `ParityReport` describes the fields they share.

    Attributes:
        mismatches: The frames with the most differing pixels, the worst first.
    """

    failures: tuple[Failure, ...]
    metrics: Mapping[str, float]
    classes: tuple[Json, ...]
    frames: tuple[Json, ...]
    ground_truth: Json
    notes: tuple[str, ...] = ()
    golden_margin: float
    mismatches: tuple[FrameMismatch, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The result of the parity gate.

    Attributes:
        task: ``segmentation``, ``classification`` or ``instances``.
        precision: Precision of the exported model.
        reference: What it was compared with, e.g. ``PyTorch fp32``.
        candidate: What ran it, e.g. ``the exported model``.
        failures: Limits that do not hold; empty when the model passed.
        limits: The limits.
        metrics: Measured totals by name.
        classes: One row a class, as in ``parity.json``: IoU, boundary F-score, pixels.
        frames: One row a frame, as in ``parity.json``.
        ground_truth: IoU and Dice (accuracy for classifiers) of both models against ground truth;
            empty without ground truth.
        notes: What the frames could not show.
        golden_margin: Twice the allowed logit difference.
        extra: Sizes, speeds, layers left in float32; free-form JSON.
    """

    task: str
    precision: str
    reference: str
    candidate: str
    failures: tuple[Failure, ...]
    limits: Limits
    metrics: Mapping[str, float]
    classes: tuple[Json, ...]
    frames: tuple[Json, ...]
    ground_truth: Json = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    golden_margin: float = 0.0
    extra: Json = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.failures

    def to_dict(self) -> Json:
        """The content of ``parity.json``; ``passed`` first."""
        return {
            "passed": self.passed,
            "task": self.task,
            "precision": self.precision,
            "reference": self.reference,
            "candidate": self.candidate,
            "faults": [failure.text for failure in self.failures],
            "limits": self.limits.to_dict(),
            "numbers": metrics_to_dict(self.metrics),
            "classes": list(self.classes),
            "frames": list(self.frames),
            "truth": self.ground_truth,
            "notes": list(self.notes),
            "golden_margin": self.golden_margin,
            "extra": self.extra,
        }

    def require(self) -> None:
        """Refuses a model that did not pass.

        Raises:
            ParityError: With every limit that does not hold.
        """
        if self.failures:
            raise ParityError(
                f"{self.candidate} ({self.precision}) does not agree with {self.reference}: "
                + failure_text(self.failures),
                remedy=_remedy(self),
            )


def metrics_to_dict(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under their keys in ``parity.json``."""
    return {_METRIC_KEYS.get(name, name): value for name, value in metrics.items()}


def failure_text(failures: tuple[Failure, ...]) -> str:
    """All failures in one line."""
    return "; ".join(failure.text for failure in failures)


def _remedy(report: ParityReport) -> str:
    if any(failure.code == "single_class" for failure in report.failures):
        return "give pictures of two classes or more, as the reference tells them apart"
    if any(failure.code in UNSUITABLE_FRAMES for failure in report.failures):
        return "give frames with instruments in view, or train the model further"
    if report.precision in ("fp16", "int8", "bf16"):
        return (
            f"export with a higher precision than {report.precision}, give more calibration "
            "frames, or set the limits by flag if this is good enough for your use"
        )
    return "this is a fault of the conversion: please report it with the bundle's checkpoint"
