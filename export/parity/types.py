"""The types of the parity check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ParityError
from trocar.export.parity.limits import Limits

Frame = NDArray[np.uint8]


Answer = Mapping[str, NDArray[Any]]


Infer = Callable[[Frame], Answer]


@dataclass(frozen=True, kw_only=True)
class GateFrame:
    """One frame of the gate.

    Attributes:
        name: For reports.
        image: ``[H,W,3]`` uint8 RGB.
        truth: ``[H,W]`` uint8 class ids (255 ignored), a class id for classifiers, or ``None``.
    """

    name: str
    image: Frame
    truth: NDArray[np.uint8] | int | None = None


@dataclass(frozen=True, kw_only=True)
class WorstFrame:
    """A frame on which the two differ most, for pictures.

    Attributes:
        name: The frame's name.
        image: ``[H,W,3]`` uint8 RGB.
        reference: ``[h,w]`` labels of the reference.
        candidate: ``[h,w]`` labels of the exported model.
        equal: Share of equal pixels.
    """

    name: str
    image: Frame
    reference: NDArray[np.uint8]
    candidate: NDArray[np.uint8]
    equal: float


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """What the gate found; the content of ``parity.json``.

    Attributes:
        task: ``segmentation`` or ``classification``.
        precision: Of the exported model.
        reference: What it was compared with, e.g. ``pytorch fp32``.
        candidate: What ran it, e.g. ``onnxruntime``.
        faults: Limits that do not hold, in words; empty when it passed.
        limits: The limits.
        numbers: Measured totals by name.
        classes: One row a class: agreement, boundary F-score, pixels.
        frames: One row a frame.
        truth: IoU and Dice (accuracy) of both against ground truth; empty without any.
        notes: What the gate could not prove, in words.
        golden_margin: Twice the allowed logit difference.
        extra: Sizes, speeds, layers left out; free-form JSON.
    """

    task: str
    precision: str
    reference: str
    candidate: str
    faults: tuple[str, ...]
    limits: Limits
    numbers: Mapping[str, float]
    classes: tuple[Mapping[str, Any], ...]
    frames: tuple[Mapping[str, Any], ...]
    truth: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    golden_margin: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``passed`` first."""
        return {"passed": self.passed, **asdict(self)}

    def require(self) -> None:
        """Refuses what did not pass.

        Raises:
            ParityError: With every limit that does not hold.
        """
        if self.faults:
            raise ParityError(
                f"{self.candidate} {self.precision} does not agree with {self.reference}: "
                + "; ".join(self.faults),
                remedy=_remedy(self),
            )


@dataclass(frozen=True)
class Compared:
    """One frame with the answers of both, batch dimension removed."""

    frame: GateFrame
    reference: Answer
    candidate: Answer
    twin: Answer | None


def _remedy(report: ParityReport) -> str:
    if any("proves nothing" in fault for fault in report.faults):
        return "give frames with instruments in view, or train the model further"
    if report.precision in ("fp16", "int8", "bf16"):
        return (
            f"export with a higher precision than {report.precision}, give more calibration "
            "frames, or set the limits by flag if this is good enough for you"
        )
    return "this is a fault of the conversion: please report it with the bundle's checkpoint"
