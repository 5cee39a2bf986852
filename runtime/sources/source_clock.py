"""What a source's own clock tells: how late its data come, and a time that always goes on.

    clock = SourceClock()
    late_ns = clock.arrived(0.04, 1_000_000_000, waited=True)     # 0: the first packet is the base
    late_ns = clock.arrived(0.08, 1_540_000_000, waited=False)    # 500 ms later than that one

Data wait in sockets, in FFmpeg and in the sender before this program can see them. The time stamps
show it: what comes late was stamped at its time. **Lateness** = (arrival − time stamp) − the
smallest such difference so far. A delay that is there from the start and never becomes smaller
cannot be told from the offset between the two clocks.

Frames are sent in the order of decoding. A B-frame comes after a frame that is shown later, which
its sender had by then: by its presentation time it is late, and was captured that much earlier.
"""

from __future__ import annotations

from collections import deque

from trocar.contract.media.clock import JUMP_S

MAX_DRIFT = 1e-3
"""The sender's clock may be slower than this machine's by this share without being late.

Real clocks differ by less than 0.01 %; senders that count 29.97 frames/s as 30 by 0.1 %. The base
rises by this share at most, and only while the reader waits for data: a reader that is too slow
itself never waits, so what it is late is never taken for drift.
"""

MAX_AHEAD_S = 2.0
"""A frame is shown so long after its turn to be decoded, at most; a time stamp that says more is
damaged, or a silence lies between the two."""

RECENT = 4
"""Packets before a step whose smallest lateness is that of the queues: three B-frames, or the last
packet of a stream, may be later."""

_MAX_DRIFT_STEP_NS = 1_000_000_000
_MIN_STEP_S = 1e-3


class SourceClock:
    """Measures how late the packets of one connection come.

    Attributes:
        late_ns: Lateness of the last packet in nanoseconds, 0 or more.
        steps: How often the sender's clock stepped back, or forward by more than a second.
    """

    def __init__(self) -> None:
        self.late_ns = 0
        self.steps = 0
        self._base: float | None = None
        self._last = (0.0, 0)
        self._recent: deque[int] = deque(maxlen=RECENT)

    def arrived(
        self, stamp: float | None, now_ns: int, *, waited: bool, shown: float | None = None
    ) -> int:
        """Takes a packet.

        A clock that steps sets the base anew, in such a way that the lateness stays what it was:
        an encoder that starts again does not empty the queues between it and this program. What it
        was is the smallest of the last `RECENT` packets: demuxers hold the last packet of a stream
        until the next one begins, and the encoder's pause in its lateness was in no queue.

        Args:
            stamp: The packet's time stamp in seconds, in the order of decoding; ``None`` where it
                has none.
            now_ns: `trocar.contract.media.clock.now_ns` when it was read.
            waited: Whether the reader had to wait for it, so that nothing is queued behind it.
            shown: When its frame is shown, in seconds; default: at ``stamp``.

        Returns:
            Its lateness in nanoseconds.
        """
        if stamp is None:
            return self.late_ns
        if shown is None or not 0 <= shown - stamp <= MAX_AHEAD_S:
            shown = stamp
        offset = now_ns - shown * 1e9
        last_stamp, last_ns = self._last
        self._last = stamp, now_ns
        if self._base is None:
            self._base = offset
        elif stamp < last_stamp or offset < self._base - JUMP_S * 1e9:
            self._base = offset - min(self._recent)
            self.steps += 1
        else:
            if waited:
                self._base += MAX_DRIFT * min(now_ns - last_ns, _MAX_DRIFT_STEP_NS)
            self._base = min(self._base, offset)
        self.late_ns = max(0, round(offset - self._base))
        self._recent.append(self.late_ns)
        return self.late_ns

    @property
    def base_ns(self) -> float:
        """The smallest difference so far between arrival and time stamp; 0 before a packet."""
        return self._base or 0.0


class ContinuousTime:
    """The time of a live source, which goes on at the pace of real time whatever its clock does.

    The source's own times are kept, shifted by a constant. Where they go back, or part from real
    time by more than a second between two frames, the shift is set anew: time goes on by what has
    really passed.

    Attributes:
        steps: How often they parted from real time by more than a second.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._shift = 0.0
        self._time = 0.0
        self._captured_ns: int | None = None
        self._is_new = False

    def time_of(self, time: float, captured_ns: int) -> float:
        """Seconds of a frame; larger than those of the frame before.

        Args:
            time: The source's own time in seconds.
            captured_ns: `trocar.contract.media.clock.now_ns` of its capture.
        """
        own = time + self._shift
        if self._captured_ns is not None:
            passed = max(0.0, (captured_ns - self._captured_ns) / 1e9)
            jumped = abs(own - self._time - passed) > JUMP_S
            if own <= self._time or jumped or self._is_new:
                own = self._time + max(passed, _MIN_STEP_S)
                self._shift = own - time
                self.steps += jumped and not self._is_new
        self._time, self._captured_ns, self._is_new = own, captured_ns, False
        return own

    def reconnected(self) -> None:
        """The next frame is of a new connection: time goes on by what has really passed."""
        self._is_new = True
