"""From a frame to its result, stage by stage: infer, smooth, locate, then steps of your own.

    analyser = Analyser(session)
    result = analyser(frame)

A *step* is anything that takes a frame and a result and gives a result: the tracker, the presence
filter, a second model that looks at each instrument's crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import FrameResult
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame
from trocar.runtime.telemetry.latency import Stages

Outputs = Mapping[str, NDArray[Any]]
"""Outputs of the graph for one frame, by name."""


class Step(Protocol):
    """Something that adds to a result.

    Attributes:
        name: Its stage in the table of latencies.
    """

    @property
    def name(self) -> str:
        """Its stage in the table of latencies."""
        ...

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """Gives the result with its addition."""
        ...


class Smoother(Protocol):
    """Something that steadies label maps over time."""

    def smooth(self, outputs: Outputs, time: float) -> Outputs:
        """Gives the outputs with steadier labels."""
        ...


class ViewFinder(Protocol):
    """Something that knows where the endoscope's round picture is."""

    def update(self, image: NDArray[np.uint8]) -> FieldOfView | None:
        """Looks at a frame and gives what is known so far."""
        ...


class Analyser:
    """Turns frames of one stream into results; keeps what must be kept between frames.

    Attributes:
        session: The model.
        stages: Where durations are recorded.
    """

    def __init__(
        self,
        session: Session,
        *,
        stages: Stages | None = None,
        smoother: Smoother | None = None,
        steps: Sequence[Step] = (),
        view_finder: ViewFinder | None = None,
    ) -> None:
        self.session = session
        self.stages = Stages() if stages is None else stages
        self._smoother = smoother
        self._steps = tuple(steps)
        self._view_finder = view_finder

    def __call__(self, frame: Frame) -> FrameResult:
        """Infers and finishes one frame."""
        outputs, infer_ms = self.infer(frame)
        return self.finish(frame, outputs, infer_ms=infer_ms)

    def infer(self, frame: Frame) -> tuple[Outputs, float]:
        """Runs the model alone: outputs of one frame, and milliseconds. Any thread may call it."""
        started = monotonic_ns()
        outputs = self.session.infer(self.session.prepare(frame.image)[None])
        return {n: v[0] for n, v in outputs.items()}, (monotonic_ns() - started) / 1e6

    def finish(self, frame: Frame, outputs: Outputs, *, infer_ms: float) -> FrameResult:
        """Makes the result of outputs that are there already; frames must come in order."""
        times: dict[str, float] = {"infer": infer_ms}
        view = None if self._view_finder is None else self._view_finder.update(frame.image)
        if self._smoother is not None:
            started = monotonic_ns()
            outputs = self._smoother.smooth(outputs, frame.time)
            times["smooth"] = (monotonic_ns() - started) / 1e6
        result = self.session.result(
            outputs,
            (frame.image.shape[0], frame.image.shape[1]),
            frame_id=frame.index,
            time=frame.time,
            captured_ns=frame.captured_ns,
            view=view,
            stages_ms=times,
        )
        times = dict(result.stages_ms)
        for step in self._steps:
            started = monotonic_ns()
            result = step.apply(frame, result)
            times[step.name] = (monotonic_ns() - started) / 1e6
        for stage, ms in times.items():
            self.stages.record(stage, ms)
        if frame.decode_ms:
            times = {"decode": frame.decode_ms, **times}
        return replace(result, age_ms=(monotonic_ns() - frame.captured_ns) / 1e6, stages_ms=times)
