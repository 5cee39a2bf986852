"""The result of the runtime for one frame.

    result = session.run(frame)
    for instrument in result.instruments: print(instrument.class_name, instrument.tips)

Coordinates are pixels of the input frame; the top-left pixel covers ``[0, 1) x [0, 1)``,
so its centre is ``(0.5, 0.5)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.instances.masks import Mask, MaskForm

RESULT_SCHEMA = "1.1"
"""Version of the JSON form of a `FrameResult`."""

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Result of a second model for an instrument's crop.

    Attributes:
        name: Class name, or ``"unknown"`` below the calibrated threshold.
        score: 0..1.
    """

    name: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One located instrument, in pixels of the frame.

    Attributes:
        class_id: Row of the class table.
        class_name: Its name.
        score: Mean confidence of its pixels, 0..1; 1 if the model has no confidence output.
        box: ``(x0, y0, x1, y1)``, half open.
        centroid: ``(x, y)``.
        area: In square frame pixels.
        axis: Unit vector ``(dx, dy)`` of the principal axis, pointing from entry to tip.
        angle: Direction of ``axis`` in degrees, -180..180; 0 is right, positive is down.
        tips: Tips ``(x, y)``; two if the jaws are open, empty if none can be located.
        entry: Point ``(x, y)`` where the shaft enters the view; ``None`` if it touches no border.
        touches_border: Whether it touches the border of the frame or of the field of view.
        track_id: The same number over time; ``None`` without tracking.
        classified: Result of a second model; ``None`` without one.
        instance: Its number in the map of instances of an instance model; ``None`` for others.
        mask: Its pixels in the label map; ``None`` where they were not kept.
    """

    class_id: int
    class_name: str
    score: float
    box: tuple[float, float, float, float]
    centroid: Point
    area: float
    axis: Point
    angle: float
    tips: tuple[Point, ...] = ()
    entry: Point | None = None
    touches_border: bool = False
    track_id: int | None = None
    classified: Classified | None = None
    instance: int | None = None
    mask: Mask | None = field(default=None, compare=False, repr=False)

    def to_dict(self, *, masks: MaskForm | None = None) -> dict[str, Any]:
        """Data that `json` can write; coordinates are rounded to 0.01 pixels.

        Args:
            masks: Form in which the mask is added; ``None`` leaves it out.
        """
        data: dict[str, Any] = {
            "class_id": self.class_id,
            "class": self.class_name,
            "score": round(self.score, 4),
            "box": _rounded(self.box),
            "centroid": _rounded(self.centroid),
            "area": round(self.area, 2),
            "axis": [round(v, 4) for v in self.axis],
            "angle": round(self.angle, 2),
            "tips": [_rounded(tip) for tip in self.tips],
            "entry": None if self.entry is None else _rounded(self.entry),
            "touches_border": self.touches_border,
        }
        if self.track_id is not None:
            data["track_id"] = self.track_id
        if self.classified is not None:
            data["classified"] = {
                "name": self.classified.name,
                "score": round(self.classified.score, 4),
            }
        if self.instance is not None:
            data["instance"] = self.instance
        if masks is not None and self.mask is not None:
            data |= self.mask.to_dict(masks)
        return data


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """All results of one frame.

    Attributes:
        frame_id: Number of the decoded frame, from 0.
        time: Presentation time in the stream, in seconds.
        captured_ns: `trocar.contract.media.clock.now_ns` when the frame reached this process.
        age_ms: Milliseconds from capture until the result was ready.
        frame_size: ``(height, width)`` of the frame.
        labels: ``[h, w]`` uint8 class ids at network size; ``None`` for classifiers.
        confidence: ``[h, w]`` largest softmax probability, as in the graph; ``None`` without one.
        instruments: Located instruments, ordered by class, area descending, y, x.
        present: Names of the classes that are present, filtered over time; ``None`` without this
            filter.
        instances: ``[h, w]`` uint8 numbers of the instances of an instance model, 0 for none;
            ``None`` for others.
        instance_count: How many instances reached the smallest score, also those beyond the
            model's maximum; ``None`` for other models.
        scores: ``[K]`` float32 class scores of a classifier; ``None`` for segmentation.
        embedding: ``[D]`` float32 of a classifier; ``None`` for segmentation.
        outside: Whether the frame counts as taken outside the body; ``None`` without an
            out-of-body model.
        backend: e.g. ``onnxruntime``.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: e.g. ``fp32``.
        stages_ms: Milliseconds of each stage, by name.
    """

    frame_id: int
    time: float
    captured_ns: int
    age_ms: float
    frame_size: tuple[int, int]
    labels: NDArray[np.uint8] | None = None
    confidence: NDArray[Any] | None = None
    instruments: tuple[Instrument, ...] = ()
    present: tuple[str, ...] | None = None
    instances: NDArray[np.uint8] | None = None
    instance_count: int | None = None
    scores: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    outside: bool | None = None
    backend: str = ""
    device: str = ""
    precision: str = ""
    stages_ms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self, *, masks: MaskForm | None = None) -> dict[str, Any]:
        """Data of one line of JSON output; label maps are left out.

        Args:
            masks: Form in which the masks of the instruments are added; ``None`` leaves them out.
        """
        data: dict[str, Any] = {
            "schema": RESULT_SCHEMA,
            "frame": self.frame_id,
            "time": round(self.time, 6),
            "age_ms": round(self.age_ms, 3),
            "size": list(self.frame_size),
            "instruments": [one.to_dict(masks=masks) for one in self.instruments],
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "stages_ms": {name: round(ms, 3) for name, ms in self.stages_ms.items()},
        }
        if self.present is not None:
            data["present"] = list(self.present)
        if self.instance_count is not None:
            data["instance_count"] = self.instance_count
        if self.outside is not None:
            data["outside"] = self.outside
        if self.scores is not None:
            data["scores"] = [round(float(score), 5) for score in self.scores]
        return data


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(v, 2) for v in values]
