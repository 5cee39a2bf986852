"""When a frame was captured, although the decoder gives it later than its packet.

    captures = Captures()
    captures.expect(3600, 1_000_000_000)        # a packet: its time stamp, and its time of capture
    captures.of_frame(3600, 1_200_000_000)      # 1000000000, not the time of the newest packet

A decoder that reorders frames (B-frames) gives a frame when a later packet comes. With the time of
that packet a frame would seem younger than it is: by the reordering, and by a silence between the
two packets.
"""

from __future__ import annotations

MOST_WAITING = 64
"""Packets whose frames have not come; decoders hold fewer, the others gave none."""


class Captures:
    """Times of capture of the packets that are in the decoder, by presentation time stamp."""

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}

    def expect(self, stamp: int | None, captured_ns: int) -> None:
        """Notes a packet that is given to the decoder.

        Args:
            stamp: Its presentation time stamp; ``None`` where it has none.
            captured_ns: Its time of capture in nanoseconds.
        """
        if stamp is None:
            return
        # A clock that started again may use a time stamp twice: the later packet counts.
        self._waiting.pop(stamp, None)
        self._waiting[stamp] = captured_ns
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def of_frame(self, stamp: int | None, newest_ns: int) -> int:
        """Nanoseconds of a frame's capture: that of its own packet, where it is known.

        Args:
            stamp: The frame's time stamp, as the decoder gives it.
            newest_ns: Time of capture of the packet that was decoded last, for other frames.
        """
        return newest_ns if stamp is None else self._waiting.pop(stamp, newest_ns)
