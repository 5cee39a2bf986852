"""From a frame to its result: infer, smooth, locate, then the post-processors in order.

    processor = FrameProcessor(session, post_processors=[Tracker()])
    result = processor(frame)

A post-processor takes a frame and a result and returns a result: the tracker, the presence filter,
a second model that classifies each instrument's crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.clock import now_ns
from trocar.contract.media.nv12 import Picture
from trocar.contract.results import FrameResult
from trocar.runtime.inference import batch_of
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.view_mask import outputs_in_view
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame
from trocar.runtime.telemetry.latency import Stages

Outputs = Mapping[str, NDArray[Any]]
"""Outputs of the graph for one frame, by name."""


class PostProcessor(Protocol):
    """Adds to a result.

    Attributes:
        name: Name of its stage in the table of latencies.
    """

    @property
    def name(self) -> str:
        """Name of its stage in the table of latencies."""
        ...

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """Returns the result with its addition."""
        ...


@runtime_checkable
class HasNotes(Protocol):
    """A post-processor that tells something of the run.

    Attributes:
        notes: What a person should know of the run so far.
    """

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of the run so far."""
        ...


class Smoother(Protocol):
    """Smooths label maps over time."""

    def smooth(self, outputs: Outputs, time: float) -> Outputs:
        """Returns the outputs with smoothed labels."""
        ...


class ViewFinder(Protocol):
    """Estimates the endoscope's round field of view."""

    def update(self, image: Picture) -> FieldOfView | None:
        """Takes a frame and returns the estimate so far."""
        ...


class FrameProcessor:
    """Turns the frames of one stream into results; holds the state between its frames.

    Args:
        session: The model.
        stages: Where durations are recorded; default: a new `Stages`.
        smoother: Smooths label maps over time.
        post_processors: Applied to each result, in this order.
        view_finder: Estimates the endoscope's field of view.

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
        post_processors: Sequence[PostProcessor] = (),
        view_finder: ViewFinder | None = None,
    ) -> None:
        self.session = session
        self.stages = Stages() if stages is None else stages
        self._smoother = smoother
        self._post_processors = tuple(post_processors)
        self._view_finder = view_finder

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the frames so far, from model and post-processors."""
        tellers = (step for step in self._post_processors if isinstance(step, HasNotes))
        return (*self.session.notes, *(note for teller in tellers for note in teller.notes))

    def __call__(self, frame: Frame) -> FrameResult:
        """Runs one frame through the model and all post-processors."""
        outputs, infer_ms = self.infer(frame)
        return self.postprocess(frame, outputs, infer_ms=infer_ms)

    def infer(self, frame: Frame) -> tuple[Outputs, float]:
        """Runs the model alone; any thread may call it.

        Returns:
            The outputs of the frame, and the milliseconds that the model took.
        """
        started = now_ns()
        outputs = self.session.infer(batch_of([self.session.prepare(frame.picture)]))
        return {n: v[0] for n, v in outputs.items()}, (now_ns() - started) / 1e6

    def postprocess(self, frame: Frame, outputs: Outputs, *, infer_ms: float) -> FrameResult:
        """Makes the result from the model's outputs; frames must come in order."""
        times: dict[str, float] = {"infer": infer_ms}
        if frame.covered:
            # Whatever the model saw in a covered picture, it is nothing.
            outputs = _without_regions(outputs)
        view = None if self._view_finder is None else self._view_finder.update(frame.picture)
        if self.session.options.mask_outside_view:
            # First: nothing outside may be smoothed, located, drawn or written.
            outputs = outputs_in_view(outputs, frame.size, view)
        if self._smoother is not None:
            started = now_ns()
            outputs = self._smoother.smooth(outputs, frame.time)
            times["smooth"] = (now_ns() - started) / 1e6
        result = self.session.result(
            outputs,
            frame.size,
            frame_id=frame.index,
            time=frame.time,
            captured_ns=frame.captured_ns,
            view=view,
            stages_ms=times,
        )
        times = dict(result.stages_ms)
        for processor in self._post_processors:
            started = now_ns()
            result = processor.apply(frame, result)
            times[processor.name] = (now_ns() - started) / 1e6
        for stage, ms in times.items():
            self.stages.record(stage, ms)
        if frame.decode_ms:
            times = {"decode": frame.decode_ms, **times}
        return replace(
            result,
            age_ms=(now_ns() - frame.captured_ns) / 1e6,
            stages_ms=times,
            outside=None if frame.body is None else frame.body.outside,
        )


def _without_regions(outputs: Outputs) -> Outputs:
    """Outputs that show nothing: no label, no instance."""
    shown = ("labels", "instances", "count")
    return {name: np.zeros_like(v) if name in shown else v for name, v in outputs.items()}
