"""Times every backend and precision of this machine on the same frame.

    for row in benchmark(Path("model.trocar"), size=(1080, 1920)):
        print(row)

A backend that cannot run has a row with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

from numpy.typing import NDArray

from trocar.contract.errors import TrocarError
from trocar.runtime.benchmark.cases import Case, cases, opened
from trocar.runtime.inference import Frames
from trocar.runtime.session import Session
from trocar.runtime.telemetry.latency import Histogram

WARM_UP = 3
"""Frames before the times are taken."""

MIN_FRAMES = 5
"""Frames that are timed at least, also when they take longer than the seconds of a row."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """Times of one backend, device and precision.

    Attributes:
        backend: Its name.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: What the arithmetic is, e.g. ``fp32``.
        megabytes: Size of the model file, in 10⁶ bytes.
        p50: Median milliseconds of a frame, batch 1, labels in host memory.
        p95: 95th percentile in milliseconds.
        p99: 99th percentile in milliseconds.
        fps: Frames a second, one after the other.
        equal: Fraction 0..1 of the golden frame's pixels that get the exporter's class; for
            classifiers 1 when the frame gets the exporter's class, else 0.
        reason: Why it did not run; empty when it did.
    """

    backend: str
    device: str
    precision: str
    megabytes: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    fps: float = 0.0
    equal: float = 0.0
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def benchmark(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    threads: int | None = None,
    trust: Path | None = None,
    nv12: bool = False,
) -> Iterator[BenchmarkRow]:
    """Times every backend; yields each row when it is done.

    Args:
        path: The bundle.
        size: ``(height, width)`` of the frames; default: the golden frame's.
        seconds: Seconds for each row.
        threads: CPU threads; default: one for each usable core.
        trust: What must have signed the bundle, see `Session.open`.
        nv12: Whether frames are given as NV12, converted beforehand.

    Raises:
        ArgumentError: The bundle has no graph for NV12.
        BundleError: The bundle cannot be opened; also `IntegrityError`.
    """
    for case in cases(path, size=size, trust=trust, nv12=nv12):
        try:
            yield _timed(case, seconds=seconds, threads=threads)
        except TrocarError as error:
            yield BenchmarkRow(
                backend=case.name,
                device=case.device,
                precision=case.precision,
                reason=error.message,
            )


def _timed(case: Case, *, seconds: float, threads: int | None) -> BenchmarkRow:
    with opened(case, threads=threads) as session:
        equal = _equal(session.infer(case.golden["frame"][None]), case.golden)
        times, elapsed = timed_back_to_back(session, case.batch(), seconds=seconds)
        return BenchmarkRow(
            backend=case.name,
            device=session.device,
            precision=session.precision,
            megabytes=round(case.bundle.model.stat().st_size / 1e6, 1),
            p50=round(times.percentile(50), 2),
            p95=round(times.percentile(95), 2),
            p99=round(times.percentile(99), 2),
            fps=round(times.count / elapsed, 1),
            equal=equal,
        )


def timed_back_to_back(
    session: Session,
    batch: Frames,
    *,
    seconds: float,
    each: Callable[[], None] = lambda: None,
) -> tuple[Histogram, float]:
    """Runs one frame again and again, without rest.

    Args:
        session: What runs it.
        batch: The frame, as a batch.
        seconds: How long; at least `MIN_FRAMES` frames are run.
        each: Called after every frame, outside of what is timed.

    Returns:
        The times of the runs, and the seconds that all took.
    """
    for _ in range(WARM_UP):
        session.infer(batch)
    times = Histogram()
    started = monotonic()
    while monotonic() - started < seconds or times.count < MIN_FRAMES:
        begun = monotonic_ns()
        session.infer(batch)
        times.record((monotonic_ns() - begun) / 1e6)
        each()
    return times, monotonic() - started


def _equal(outputs: dict[str, NDArray[Any]], golden: dict[str, NDArray[Any]]) -> float:
    if "labels" in golden:
        return float((outputs["labels"][0] == golden["labels"]).mean())
    return float(outputs["scores"][0].argmax() == golden["scores"].argmax())
