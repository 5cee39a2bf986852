"""What the source's clock tells: lateness, steps, drift; a time that goes on; late packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numbered_videos import number_in, write

from trocar.contract.media.video.decoder import VideoDecoder
from trocar.runtime.sources import live_packets
from trocar.runtime.sources.live_packets import LivePackets
from trocar.runtime.sources.source_clock import ContinuousTime, SourceClock

S = 1_000_000_000


def lateness(
    stamps: Callable[[int], float], arrivals: Callable[[int], float], count: int, waited: bool
) -> tuple[SourceClock, list[float]]:
    """Seconds that each of so many packets is late."""
    clock = SourceClock()
    late = [
        clock.arrived(stamps(i), 77 * S + round(arrivals(i) * S), waited=waited) / S
        for i in range(count)
    ]
    return clock, late


def test_a_reader_at_half_speed_is_ever_later() -> None:
    _, late = lateness(lambda i: i / 25, lambda i: 2 * i / 25, 1000, waited=False)
    assert late[0] == 0
    assert late[-1] == pytest.approx(999 / 25)


def test_jitter_is_counted_from_the_fastest_packet() -> None:
    _, late = lateness(lambda i: i / 25, lambda i: i / 25 + 0.01 * (i % 4), 100, waited=True)
    assert late[-4:] == pytest.approx([0.0, 0.01, 0.02, 0.03], abs=2e-3)


@pytest.mark.parametrize("rate", [1 + 1e-4, 1.001, 1 - 1e-3])
def test_a_senders_clock_that_drifts_is_not_late_after_half_an_hour(rate: float) -> None:
    _, late = lateness(lambda i: i / 25, lambda i: i / 25 * rate, 1800 * 25, waited=True)
    assert max(late) < 0.005


def test_a_reader_that_is_a_thousandth_too_slow_is_late() -> None:
    """It never waits, so that its delay is no drift of clocks."""
    _, late = lateness(lambda i: i / 25, lambda i: i / 25 * 1.001, 1800 * 25, waited=False)
    assert late[-1] == pytest.approx(1.8, abs=0.01)


def test_a_standing_queue_is_not_forgotten_for_drift() -> None:
    _, late = lateness(
        lambda i: i / 25, lambda i: i / 25 + (5.0 if i > 100 else 0.0), 600 * 25, waited=True
    )
    # A minute takes 60 ms of it: five seconds would last for more than an hour.
    assert late[-1] > 4.3


@pytest.mark.parametrize("jump", [-3600.0, -13.0, -0.2, 5.0, 86400.0])
@pytest.mark.parametrize("queue", [0.0, 2.0])
def test_a_clock_that_steps_keeps_the_lateness(jump: float, queue: float) -> None:
    clock, late = lateness(
        lambda i: 4000 + i / 25 + (jump if i >= 50 else 0.0),
        lambda i: i / 25 + (queue if i >= 10 else 0.0),
        100,
        waited=False,
    )
    assert clock.steps == 1
    # It is known to the interval between two packets.
    assert late[60:] == pytest.approx([queue] * 40, abs=0.05)


def test_packets_without_time_stamps_are_as_late_as_the_one_before() -> None:
    clock = SourceClock()
    clock.arrived(0.0, 0, waited=True)
    clock.arrived(0.04, round(0.54 * S), waited=False)
    assert clock.arrived(None, S, waited=False) == round(0.5 * S)


@pytest.mark.parametrize("jump", [-100.0, 100.0, -2.0, 0.0])
@pytest.mark.parametrize("silence", [0.0, 13.0])
def test_time_goes_on_by_what_has_passed(jump: float, silence: float) -> None:
    """An encoder that starts again: today's time, not one time stamp for ever."""
    time = ContinuousTime()
    times = [
        time.time_of(
            200 + i / 25 + (jump if i >= 50 else 0.0),
            round((i / 25 + (silence if i >= 50 else 0.0)) * S),
        )
        for i in range(100)
    ]
    assert all(a < b for a, b in pairwise(times))
    steps = [b - a for a, b in pairwise(times)]
    assert steps[49] == pytest.approx(0.04 + silence)
    assert steps[:49] + steps[50:] == pytest.approx([0.04] * 98)
    assert time.steps == int(jump != 0 or silence != 0)


def test_equal_and_slightly_wrong_times_rise_without_an_event() -> None:
    time = ContinuousTime()
    times = [time.time_of(t, round(t * S)) for t in (0.0, 0.04, 0.04, 0.03, 0.08)]
    assert all(a < b for a, b in pairwise(times))
    assert time.steps == 0


@dataclass
class Packet:
    """As PyAV's."""

    dts: int
    is_keyframe: bool
    size: int = 100
    time_base: Fraction = Fraction(1, 25)

    @property
    def pts(self) -> int:
        return self.dts


class Sender:
    """A live stream of 25 packets a second whose packets queue until they are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, packets: int, gop: int) -> None:
        self.now = 0
        self._packets = packets
        self._gop = gop
        monkeypatch.setattr(live_packets, "now_ns", lambda: self.now)

    def __iter__(self) -> Iterator[Packet]:
        for index in range(self._packets):
            # Reading takes 10 us, or as long as it lasts until the packet is there.
            self.now = max(self.now + 10_000, index * S // 25)
            yield Packet(index, is_keyframe=index % self._gop == 0)

    def oldest(self, packets: LivePackets, decode_s: float) -> tuple[list[int], float, bool]:
        """Decodes; the packets' numbers, the greatest true age, and whether it was told."""
        numbers, ages = [], []
        honest = True
        for captured_ns, packet in packets(iter(self)):
            self.now += round(decode_s * S)
            numbers.append(packet.dts)
            ages.append((self.now - packet.dts * S // 25) / S)
            honest &= abs((self.now - captured_ns) / S - ages[-1]) < 0.001
        return numbers, max(ages), honest


def test_what_a_slow_decoder_cannot_take_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """At half speed for forty seconds the picture would be twenty seconds old at the end."""
    sender, packets = Sender(monkeypatch, packets=1000, gop=12), LivePackets()
    numbers, oldest, honest = sender.oldest(packets, decode_s=0.08)
    assert honest
    assert oldest < 1.1
    assert len(numbers) + packets.skipped == 1000
    # After each gap it begins at a key frame, so that every picture is whole.
    assert all(b == a + 1 or b % 12 == 0 for a, b in pairwise(numbers))
    assert packets.skipped > 300


def test_without_a_key_frame_nothing_is_passed_over_and_the_age_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender, packets = Sender(monkeypatch, packets=300, gop=10_000), LivePackets()
    numbers, oldest, honest = sender.oldest(packets, decode_s=0.08)
    assert numbers == list(range(300))
    assert packets.skipped == 0
    assert honest
    assert oldest == pytest.approx(300 * 0.08 - 299 / 25, abs=0.1)


def test_a_decoder_that_keeps_up_gets_every_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, packets = Sender(monkeypatch, packets=300, gop=12), LivePackets()
    numbers, oldest, _ = sender.oldest(packets, decode_s=0.03)
    assert numbers == list(range(300))
    assert oldest < 0.05


def test_time_stamps_that_are_no_clock_make_nothing_late(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, packets = Sender(monkeypatch, packets=100, gop=12), LivePackets(trusts_clock=False)
    numbers, _, honest = sender.oldest(packets, decode_s=0.08)
    assert numbers == list(range(100))
    assert not honest


@pytest.mark.parametrize("pause", [0.05, 0.9, 7.0])
def test_an_encoder_that_pauses_before_it_starts_again_is_not_late_for_ever(pause: float) -> None:
    """A demuxer holds the last packet of a stream until the next stream begins."""
    clock, now, late = SourceClock(), 77.0, []
    for _ in range(20):
        for index in range(50):
            is_last = index == 49
            now += 0.04 + pause * is_last
            stamp = 1.4 + index / 25
            late.append(clock.arrived(stamp, round(now * S), waited=True) / S)
    assert clock.steps == 19
    told = [value for number, value in enumerate(late) if number % 50 != 49]
    assert max(told) < 0.01


def test_frames_that_are_sent_after_later_ones_are_older_by_the_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P4 B2 B1 B3 P8 …: each is captured at its presentation time, 0.12 s before it can come."""
    now = 0

    def sent() -> Iterator[Any]:
        nonlocal now
        for index, shown in enumerate([0, *(4 * n + k for n in range(25) for k in (4, 2, 1, 3))]):
            now = max(now + 10_000, (index + 3) * S // 25)
            packet = Packet(index - 3, is_keyframe=index == 0)
            yield SimpleNamespace(**{**vars(packet), "pts": shown})

    monkeypatch.setattr(live_packets, "now_ns", lambda: now)
    errors = [
        captured_ns / S - packet.pts / 25 for captured_ns, packet in LivePackets()(iter(sent()))
    ]
    # Until the first frame that is sent ahead, nothing tells.
    assert errors[2:] == pytest.approx([errors[1]] * (len(errors) - 2), abs=1e-3)
    assert errors[0] - errors[1] == pytest.approx(0.12, abs=1e-3)


def test_damaged_time_stamps_make_no_frame_hours_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0

    def sent() -> Iterator[Any]:
        nonlocal now
        for index in range(20):
            now = index * S // 25
            packet = vars(Packet(index, is_keyframe=index == 0))
            yield SimpleNamespace(**packet, pts=index + (10**6 if index == 5 else 0))

    monkeypatch.setattr(live_packets, "now_ns", lambda: now)
    ages = [now - captured_ns for captured_ns, _ in LivePackets()(iter(sent()))]
    assert max(ages) < S // 100


@pytest.mark.parametrize("bf", ["0", "3"])
def test_a_frame_that_the_decoder_held_was_captured_when_its_own_packet_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bf: str
) -> None:
    """A silence of 0.9 s between two frames is in the age of the one that was held meanwhile."""
    shown = [Fraction(n, 25) + (Fraction(9, 10) if n >= 30 else 0) for n in range(60)]
    options = {"bf": bf, "x264-params": "b-pyramid=normal:b-adapt=0:scenecut=0"}
    path = write(tmp_path / "v.ts", range(60), times=shown, options=options)
    now = 0

    def sent(packets: Iterator[Any]) -> Iterator[Any]:
        nonlocal now
        for packet in packets:
            if packet.pts is not None:
                # A sender has captured what it sends, and the frames shown before.
                now = max(now + 10_000, round(packet.pts * packet.time_base * S) + 10 * S)
            yield packet

    monkeypatch.setattr(live_packets, "now_ns", lambda: now)
    packets = LivePackets()
    with VideoDecoder(str(path), low_delay=True, arrivals=lambda p: packets(sent(p))) as decoder:
        told = {number_in(f.image): f.captured_ns / S for f in decoder.frames()}
    assert len(told) == 60
    errors = [told[n] - float(shown[n]) for n in range(60)]
    assert errors[5:] == pytest.approx([errors[59]] * 55, abs=3e-3)


@pytest.mark.parametrize(("opening", "told"), [(5.2, True), (5.2, False)])
def test_what_came_while_the_stream_was_opened_is_as_old_as_it_is(
    monkeypatch: pytest.MonkeyPatch, opening: float, told: bool
) -> None:
    """On a machine that is busy, five seconds of video wait in a socket before the first read."""
    sender = Sender(monkeypatch, packets=300, gop=12)
    packets = LivePackets(trusts_clock=told)
    sender.now = round(opening * S)
    numbers, oldest, honest = sender.oldest(packets, decode_s=0.01)
    assert honest == told
    assert numbers[0] == (120 if told else 0)
    assert len(numbers) + packets.skipped == 300
    assert oldest < 0.6 or not told


def test_a_file_behind_an_address_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes faster than real time: nothing of it waited anywhere."""
    now = 0

    def sent() -> Iterator[Packet]:
        nonlocal now
        for index in range(500):
            now += 10_000
            yield Packet(index, is_keyframe=index % 12 == 0)

    monkeypatch.setattr(live_packets, "now_ns", lambda: now)
    packets = LivePackets()
    assert [packet.dts for _, packet in packets(sent())] == list(range(500))
    assert packets.skipped == 0
