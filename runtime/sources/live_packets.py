"""Reads the packets of a live stream: when each was captured, and what is passed over when behind.

    packets = LivePackets()
    for captured_ns, packet in packets(container.demux(stream)): ...

A decoder that is too slow would show the past, ever longer ago. When packets come more than
`MAX_BEHIND_NS` late and more of them are queued, the queue is read without decoding, and decoding
goes on at its last key frame. Nothing is passed over where no key frame is queued.

What is queued when a connection begins came while the stream was opened. The first packet that had
to be waited for tells how old the others are: they are held until then, and passed over up to their
last key frame too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trocar.contract.media.clock import now_ns
from trocar.runtime.sources.source_clock import SourceClock

WAITED_NS = 1_000_000
"""Nanoseconds that reading a packet takes at least when the reader had to wait for it."""

MAX_BEHIND_NS = 500_000_000
"""Lateness from which on queued packets are passed over up to the last key frame."""

CAUGHT_UP_NS = 100_000_000
"""Lateness below which the newest packet has been reached."""

AHEAD_S = 1.0
"""Seconds that a sender may send at once, beyond what came while the stream was opened."""

_MOST_HELD = 3000


class LivePackets:
    """The packets of one connection, with their capture times.

    Args:
        trusts_clock: Whether time stamps tell when a packet was sent; otherwise none is late.

    Attributes:
        trusts_clock: See above. A recording behind an address has no such clock: its server sends
            as fast or as slowly as it likes, and nothing of it is late.
        clock: The sender's clock.
        late_ns: Lateness of the packet that was given last.
        arrived_ns: `trocar.contract.media.clock.now_ns` when it was read.
        queued: Whether it was read without waiting: more packets may be queued.
        skipped: Packets that were passed over so far.
    """

    def __init__(self, *, trusts_clock: bool = True) -> None:
        self.trusts_clock = trusts_clock
        self._begun_ns = now_ns()
        self._is_first = True
        self.clock = SourceClock()
        self.late_ns = 0
        self.arrived_ns = 0
        self.queued = False
        self.skipped = 0

    def __call__(self, packets: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        """Gives each packet with the time of its capture: its arrival minus its lateness."""
        while (read := self._read(packets)) is not None:
            held = [read]
            fault: Exception | None = None
            if self._is_first and self._may_have_waited():
                fault = self._read_backlog(packets, held)
            elif read[1] > MAX_BEHIND_NS and self.queued:
                fault = self._read_queue(packets, held)
            self._is_first = False
            for captured_ns, late_ns, packet in held:
                self.late_ns = late_ns
                yield captured_ns, packet
            if fault is not None:
                raise fault

    def _read(self, packets: Iterator[Any]) -> tuple[int, int, Any] | None:
        begun = now_ns()
        packet = next(packets, None)
        if packet is None:
            return None
        self.arrived_ns = now_ns()
        self.queued = self.arrived_ns - begun < WAITED_NS
        late_ns = self.clock.arrived(
            _decoding_time(packet),
            self.arrived_ns,
            waited=not self.queued,
            shown=_seconds(packet, packet.pts),
        )
        if not self.trusts_clock:
            late_ns = 0
        return self.arrived_ns - late_ns, late_ns, packet

    def _read_queue(
        self, packets: Iterator[Any], held: list[tuple[int, int, Any]]
    ) -> Exception | None:
        """Reads what is queued into ``held``, and drops what precedes its last key frame."""
        fault: Exception | None = None
        try:
            while self.queued and held[-1][1] > CAUGHT_UP_NS and len(held) < _MOST_HELD:
                read = self._read(packets)
                if read is None:
                    break
                held.append(read)
        except Exception as error:
            # What was read before is given first.
            fault = error
        self._drop(held)
        return fault

    def _may_have_waited(self) -> bool:
        """Whether packets may have come long before the first was read."""
        return self.trusts_clock and self.arrived_ns - self._begun_ns > CAUGHT_UP_NS

    def _read_backlog(
        self, packets: Iterator[Any], held: list[tuple[int, int, Any]]
    ) -> Exception | None:
        """Reads what came while the stream was opened, and sets its lateness by what comes then.

        A source that gives more than can have come in that time is read faster than real time (a
        file behind an address): all of it is kept, and none of it is late.
        """
        fault: Exception | None = None
        bases = [self.clock.base_ns]
        first = _decoding_time(held[0][2])
        try:
            while self.queued and len(held) < _MOST_HELD:
                stamp = _decoding_time(held[-1][2])
                opened_s = (self.arrived_ns - self._begun_ns) / 1e9
                if first is None or stamp is None or stamp - first > opened_s + AHEAD_S:
                    return None
                read = self._read(packets)
                if read is None:
                    return None
                held.append(read)
                bases.append(self.clock.base_ns)
        except Exception as error:
            fault = error
        if not self.clock.steps:
            more = [round(base - self.clock.base_ns) for base in bases]
            held[:] = [(c - m, n + m, p) for (c, n, p), m in zip(held, more, strict=True)]
            if held[0][1] > CAUGHT_UP_NS:
                self._drop(held)
        return fault

    def _drop(self, held: list[tuple[int, int, Any]]) -> None:
        """Passes over what precedes the last key frame."""
        key = max((n for n, item in enumerate(held) if item[2].is_keyframe), default=0)
        self.skipped += key
        del held[:key]


def _decoding_time(packet: Any) -> float | None:
    return _seconds(packet, packet.pts if packet.dts is None else packet.dts)


def _seconds(packet: Any, stamp: int | None) -> float | None:
    if stamp is None or packet.time_base is None or packet.size == 0:
        return None
    return float(stamp * packet.time_base)
