"""Times the backends of this machine at the rates of cameras, where a device rests between frames.

    for row in live_benchmark(Path("model.trocar"), rates=(25.0, 60.0)):
        print(row)

A frame's age counts from the moment at which the camera's rate gives it to the moment at which its
result is in host memory. The newest frame is taken; one that came before it is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from trocar.contract.errors import ArgumentError, TrocarError
from trocar.runtime.benchmark.cases import Case, cases, opened
from trocar.runtime.benchmark.speed import MIN_FRAMES, WARM_UP, timed_back_to_back
from trocar.runtime.clocks import clock_mhz
from trocar.runtime.devices import device_from_text
from trocar.runtime.inference import Frames
from trocar.runtime.pipeline.queues import LatestValue
from trocar.runtime.session import Session
from trocar.runtime.telemetry.latency import Histogram

CAMERA_RATES = (25.0, 30.0, 50.0, 60.0)
"""Frames a second of common cameras."""

_CLOCK_EVERY_S = 0.25


@dataclass(frozen=True, kw_only=True)
class LiveRow:
    """Ages of one backend, device and precision at one rate.

    Attributes:
        backend: Its name.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: What the arithmetic is, e.g. ``fp32``.
        rate: Frames a second that were asked for.
        fed: Frames a second that were fed; below ``rate`` where the machine is too busy for that.
        age_p50: Median age of a result in milliseconds.
        age_p99: 99th percentile of the age in milliseconds.
        run_p50: Median milliseconds of a run at this rate.
        alone_p50: Median milliseconds of a run, one after the other without rest.
        processed: Frames with a result.
        dropped: Frames that a newer one replaced.
        clock_mhz: Median clock of the device at this rate; ``None`` where it cannot be read.
        alone_clock_mhz: The same without rest.
        reason: Why it did not run; empty when it did.
    """

    backend: str
    device: str
    precision: str
    rate: float
    fed: float = 0.0
    age_p50: float = 0.0
    age_p99: float = 0.0
    run_p50: float = 0.0
    alone_p50: float = 0.0
    processed: int = 0
    dropped: int = 0
    clock_mhz: float | None = None
    alone_clock_mhz: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def live_benchmark(
    path: Path,
    *,
    rates: Sequence[float] = CAMERA_RATES,
    size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    threads: int | None = None,
    trust: Path | None = None,
    nv12: bool = False,
) -> Iterator[LiveRow]:
    """Feeds every backend at each rate; yields each row when it is done.

    Args:
        path: The bundle.
        rates: Frames a second, above 0 and at most 1000.
        size: ``(height, width)`` of the frames; default: the golden frame's.
        seconds: Seconds for each row.
        threads: CPU threads; default: one for each usable core.
        trust: What must have signed the bundle, see `Session.open`.
        nv12: Whether frames are given as NV12, converted beforehand.

    Raises:
        ArgumentError: A rate is out of range, or the bundle has no graph for NV12.
        BundleError: The bundle cannot be opened; also `IntegrityError`.
    """
    for rate in rates:
        if not 0 < rate <= 1000:
            raise ArgumentError(
                f"the rate is {rate} frames/s, expected above 0 and at most 1000",
                remedy="pass the camera's frames a second, e.g. 25",
            )
    for case in cases(path, size=size, trust=trust, nv12=nv12):
        names: dict[str, Any] = {
            "backend": case.name,
            "device": case.device,
            "precision": case.precision,
        }
        done = 0
        try:
            with opened(case, threads=threads) as session:
                names |= {"device": session.device, "precision": session.precision}
                for row in _rows(session, case, names, rates, seconds):
                    done += 1
                    yield row
        except TrocarError as error:
            for rate in rates[done:]:
                yield LiveRow(**names, rate=rate, reason=error.message)


def _rows(
    session: Session,
    case: Case,
    names: dict[str, Any],
    rates: Sequence[float],
    seconds: float,
) -> Iterator[LiveRow]:
    alone_clock = _Clock(session.device)
    times, _ = timed_back_to_back(session, case.batch(), seconds=seconds, each=alone_clock.look)
    for rate in rates:
        clock = _Clock(session.device)
        fed = _fed(session, case, rate=rate, seconds=seconds, clock=clock)
        yield LiveRow(
            **names,
            rate=rate,
            fed=round(fed.rate, 1),
            age_p50=round(fed.ages.percentile(50), 2),
            age_p99=round(fed.ages.percentile(99), 2),
            run_p50=round(fed.runs.percentile(50), 2),
            alone_p50=round(times.percentile(50), 2),
            processed=fed.ages.count,
            dropped=fed.dropped,
            clock_mhz=clock.median,
            alone_clock_mhz=alone_clock.median,
        )


class _Clock:
    """Clocks of a device, looked at some times a second."""

    def __init__(self, device: str) -> None:
        self._device = device_from_text(device)
        self._values: list[float] = []
        self._next = 0.0

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        value = clock_mhz(self._device)
        self._next = time.monotonic() + _CLOCK_EVERY_S
        if value is not None:
            self._values.append(value)

    @property
    def median(self) -> float | None:
        return round(median(self._values)) if self._values else None


@dataclass(frozen=True)
class _Fed:
    ages: Histogram
    runs: Histogram
    dropped: int
    rate: float


def _fed(session: Session, case: Case, *, rate: float, seconds: float, clock: _Clock) -> _Fed:
    """Runs the newest of the frames that a thread gives at a rate."""
    frames = max(MIN_FRAMES, round(rate * seconds))
    newest = LatestValue[tuple[float, Frames]]()
    batches = [case.batch() for _ in range(WARM_UP)]
    for batch in batches:
        session.infer(batch)
    dropped, times, ended = [0], [0.0, 0.0], threading.Event()

    def feed() -> None:
        start = time.monotonic()
        for i in range(frames):
            # The camera's time, also where this thread wakes late: that is part of the age.
            captured = start + i / rate
            if ended.wait(max(0.0, captured - time.monotonic())):
                return
            dropped[0] += newest.put((captured, batches[i % len(batches)])) is not None
        times[:] = start, time.monotonic()
        newest.close()

    ages, runs = Histogram(), Histogram()
    thread = threading.Thread(target=feed, name="trocar-camera", daemon=True)
    thread.start()
    try:
        while (item := newest.get()) is not None:
            captured, batch = item
            begun = time.monotonic()
            session.infer(batch)
            done = time.monotonic()
            ages.record((done - captured) * 1e3)
            runs.record((done - begun) * 1e3)
            clock.look()
    finally:
        ended.set()
        thread.join()
    elapsed = max(times[1] - times[0], 1e-9)
    return _Fed(ages, runs, dropped[0], (frames - 1) / elapsed)
