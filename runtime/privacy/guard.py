"""Judges frames before anything else sees them, and covers those from outside the body.

    guard = FrameGuard(body, mode="blur")
    frame = guard.apply(frame)

What comes out is what every sink, the live page and the model get: of a covered frame, the original
picture is in none of them. A frame that nobody judged in time counts as outside.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.clock import now_ns
from trocar.contract.text.words import first_line
from trocar.runtime.pipeline.queues import LatestValue
from trocar.runtime.privacy.body import FAILED
from trocar.runtime.privacy.cover import covered
from trocar.runtime.sources.base import Frame, Verdict

LATE = "the out-of-body model does not answer in time: pictures count as outside the body"

IDLE_S = 0.5


class Judge(Protocol):
    """Judges pictures; `trocar.runtime.privacy.body.BodyClassifier` is one."""

    def judge(self, image: NDArray[np.uint8]) -> Verdict:
        """Judges one picture, ``[H, W, 3]`` uint8 RGB."""
        ...


class FrameGuard:
    """The guard of one stream. `apply` is called from one thread.

    Args:
        body: What judges.
        mode: One of `trocar.runtime.privacy.options.MODES`.
        limit_ms: Milliseconds after which a frame counts as outside; ``None`` waits for the
            verdict, however long it takes (files).

    Attributes:
        judged: Frames so far.
        outside: Frames that counted as outside the body, the two following among them.
        failed: Frames on which the model failed.
        late: Frames that were not judged in time.
    """

    def __init__(self, body: Judge, *, mode: str, limit_ms: float | None = None) -> None:
        self.judged = self.outside = self.failed = self.late = 0
        self._body = body
        self._mode = mode
        self._limit_ms = limit_ms
        self._pictures: LatestValue[tuple[int, NDArray[np.uint8]]] = LatestValue()
        self._answered = threading.Condition()
        self._answer: tuple[int, Verdict] = (-1, Verdict(outside=True))
        self._thread: threading.Thread | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """How many frames were outside the body, in words; empty for none."""
        if not self.outside:
            return ()
        what = {"blur": ", and are blurred", "black": ", and are black"}.get(self._mode, "")
        parts = [f"{self.outside} of {self.judged} frames count as outside the body{what}"]
        if self.failed:
            parts.append(f"the out-of-body model failed on {self.failed} of them")
        if self.late:
            parts.append(f"{self.late} of them were not judged in time")
        return ("; ".join(parts),)

    def apply(self, frame: Frame) -> Frame:
        """The frame with its verdict, covered if it is outside the body; never raises."""
        number, self.judged = self.judged, self.judged + 1
        verdict = self._verdict(number, frame.image)
        self.failed += verdict.failed
        if not verdict.outside:
            return frame.changed(body=verdict)
        self.outside += 1
        if self._mode == "off":
            return frame.changed(body=verdict)
        return frame.changed(
            image=covered(self._mode, frame.image), body=replace(verdict, covered=True)
        )

    def close(self) -> None:
        """Ends its thread, as soon as the model answers."""
        self._pictures.close()

    def _verdict(self, number: int, image: NDArray[np.uint8]) -> Verdict:
        if self._limit_ms is None:
            return self._judged(image)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="trocar-body", daemon=True)
            self._thread.start()
        ends_ns = now_ns() + round(self._limit_ms * 1e6)
        self._pictures.put((number, image))
        with self._answered:
            while self._answer[0] != number:
                left_s = (ends_ns - now_ns()) / 1e9
                if left_s <= 0 or not self._answered.wait(left_s):
                    break
            if self._answer[0] == number:
                return self._answer[1]
        self.late += 1
        return Verdict(outside=True, reason=LATE)

    def _judged(self, image: NDArray[np.uint8]) -> Verdict:
        try:
            return self._body.judge(image)
        except Exception as error:
            return Verdict(outside=True, failed=True, reason=f"{FAILED} ({first_line(error)})")

    def _work(self) -> None:
        while not self._pictures.exhausted:
            taken = self._pictures.get(timeout=IDLE_S)
            if taken is None:
                continue
            verdict = self._judged(taken[1])
            with self._answered:
                self._answer = (taken[0], verdict)
                self._answered.notify()
