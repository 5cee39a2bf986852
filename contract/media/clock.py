"""Presentation times that never go back, whatever a container says; a clock that never stands.

clock = PresentationClock(fps=25.0)
clock.expect(0.04)             # a packet's time stamp, as packets arrive
clock.time_of(0.04)            # 0.0: the first frame's time
"""

from __future__ import annotations

import heapq
import time

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def _boot_ns() -> int:
    """Nanoseconds since the machine started, asleep or not where the system counts."""
    if _BOOT_CLOCK is None:
        return time.monotonic_ns()
    return time.clock_gettime_ns(_BOOT_CLOCK)


_OFFSET_NS = time.monotonic_ns() - _boot_ns()


def now_ns() -> int:
    """Monotonic nanoseconds that go on while the machine is suspended (Linux).

    It equals `time.monotonic_ns` until the machine is suspended for the first time after the
    program's start. From then on it is ahead by the time of the suspension, so that nothing from
    before it looks new.
    """
    return _boot_ns() + _OFFSET_NS


JUMP_S = 1.0
"""A larger step back is another recording that begins; a smaller one is a wrong time stamp."""

_MAX_REORDER = 16
"""Frames by which H.264 and HEVC may reorder at the most (H.264, A.3.1: max_num_reorder_frames)."""


class PresentationClock:
    """Gives each frame a time, from its time stamp where that is credible.

    A decoder puts frames out in the order in which they are shown. So a time stamp that lies before
    the one of the frame before is wrong, and is replaced:

    - Containers that store no presentation times (AVI) number packets in the order in which they
      are decoded. With ``reordered`` each frame takes the smallest time stamp of the packets that
      arrived and were not yet used: that is the time at which it is shown.
    - A step back by more than `JUMP_S` is a clock that starts again (joined recordings, an encoder
      that restarted): time goes on by one frame.
    - A smaller step back: one frame's duration after the frame before.

    Args:
        fps: Nominal frames per second, for frames without a time stamp; 25 where it is unknown.
        reordered: Whether time stamps follow the order of decoding, see above.

    Attributes:
        corrections: Number of time stamps that were replaced.
        restarts: Number of times that the clock started again.
    """

    def __init__(self, *, fps: float | None, reordered: bool = False) -> None:
        self.corrections = 0
        self.restarts = 0
        self._period = 1 / fps if fps and fps > 0 else 1 / 25
        self._reordered = reordered
        self._waiting: list[float] = []
        self._offset: float | None = None
        self._last: float | None = None

    def expect(self, stamp: float) -> None:
        """Notes the time stamp in seconds of a packet that a frame will come of."""
        if self._reordered:
            heapq.heappush(self._waiting, stamp)

    def forget(self, stamp: float) -> None:
        """Notes that the packet with that time stamp gave no frame."""
        if stamp in self._waiting:
            self._waiting.remove(stamp)
            heapq.heapify(self._waiting)

    def time_of(self, stamp: float | None) -> float:
        """Time in seconds of the next frame; 0 for the first one, then ever larger.

        Args:
            stamp: Time stamp of the frame in seconds, ``None`` where it has none.
        """
        if self._reordered and self._waiting:
            stamp = self._smallest_waiting(stamp)
        if self._last is None:
            self._offset = None if stamp is None else -stamp
            self._last = 0.0
            return 0.0
        follow_up = self._last + self._period
        if stamp is None:
            time = follow_up
        elif self._offset is None:  # The frames before had no time stamps.
            self._offset = follow_up - stamp
            time = follow_up
        else:
            time = stamp + self._offset
            if time <= self._last:
                if self._last - time > JUMP_S:
                    self._offset += follow_up - time
                    self.restarts += 1
                else:
                    self.corrections += 1
                time = follow_up
        self._last = time
        return time

    def _smallest_waiting(self, stamp: float | None) -> float:
        smallest = heapq.heappop(self._waiting)
        if stamp is None:
            return smallest
        # What lies further back than any reordering belongs to packets that gave no frame.
        while self._waiting and stamp - smallest > _MAX_REORDER * self._period:
            smallest = heapq.heappop(self._waiting)
        if smallest != stamp:
            self.corrections += 1
        return smallest
