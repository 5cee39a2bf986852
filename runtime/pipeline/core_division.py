"""How a file's run divides the cores between frames, by a short measurement of the model.

    session, division, note = fastest(session, reopen, size=(1080, 1920), frames=20000, cores=8)

On few cores one thread a frame gives the most frames a second. On many cores that many frames at
once may be slower than fewer frames with more threads each: memory and caches are shared. Which it
is depends on the network, the frame's size and the machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from trocar.contract.media.clock import now_ns
from trocar.runtime.session import Session

MIN_CORES = 4
"""Cores below which one thread a frame is always taken."""

LARGEST_SHARE = 0.02
"""Share of a run's time that the measurement may take."""

GAIN = 1.1
"""Frames a second, as a multiple of those with one thread a frame, from which on more threads are
taken: noise decides nothing."""

_ROUNDS = 3
_FRAMES = 2
"""Frames of each worker in a round."""

Reopen = Callable[[int], Session]
"""Opens the model again, with that many threads."""


@dataclass(frozen=True, kw_only=True)
class CoreDivision:
    """How the cores are divided.

    Attributes:
        workers: Frames in the model at once.
        threads: Threads of each frame.
    """

    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads}"


def divisions(cores: int) -> list[CoreDivision]:
    """What can be chosen on so many cores; one thread a frame comes first."""
    found = []
    threads = 1
    while threads <= cores:
        found.append(CoreDivision(workers=cores // threads, threads=threads))
        threads *= 2
    return found


def is_worth_measuring(*, frames: int | None, cores: int) -> bool:
    """Whether a run is long enough for a measurement of at most `LARGEST_SHARE` of its time."""
    if frames is None or cores < MIN_CORES:
        return False
    measured = len(divisions(cores)) * _ROUNDS * _FRAMES * cores
    return measured <= LARGEST_SHARE * frames


def fastest(
    session: Session,
    reopen: Reopen,
    *,
    size: tuple[int, int] | None,
    frames: int | None,
    cores: int,
) -> tuple[Session, CoreDivision, str]:
    """The session and division of the most frames a second.

    Args:
        session: The model, opened with one thread on a CPU. It is closed if another is returned.
        reopen: Opens it with more.
        size: ``(height, width)`` of the frames; ``None`` measures nothing.
        frames: How many there are; ``None`` measures nothing.
        cores: Cores to use.

    Returns:
        The session, the division, and what to tell people; empty where nothing was measured.
    """
    choices = divisions(cores)
    plain = choices[0]
    if size is None or not is_worth_measuring(frames=frames, cores=cores):
        return session, plain, ""
    sessions = {plain: session}
    chosen = plain
    try:
        for one in choices[1:]:
            sessions[one] = reopen(one.threads)
        rates = measured_rates(sessions, size)
        best = max(rates, key=lambda one: rates[one])
        if rates[best] >= GAIN * rates[plain]:
            chosen = best
    except BaseException:
        session.close()
        raise
    finally:
        for one, opened in sessions.items():
            if one != chosen:
                opened.close()
    texts = ", ".join(f"{one} {rate:.1f}" for one, rate in rates.items())
    note = (
        f"{chosen.workers} frames at once with {chosen.threads} thread(s) each, by measurement "
        f"({texts} frames/s of the model alone); --threads decides it instead"
    )
    return sessions[chosen], chosen, note


def measured_rates(
    sessions: dict[CoreDivision, Session], size: tuple[int, int]
) -> dict[CoreDivision, float]:
    """Frames a second of each division on black frames, the median of rounds in turn."""
    frames = np.zeros((1, *size, 3), np.uint8)
    rates: dict[CoreDivision, list[float]] = {one: [] for one in sessions}
    for turn in range(_ROUNDS + 1):
        for one, session in sessions.items():
            # The first round allocates what a shape needs.
            count = one.workers * (_FRAMES if turn else 1)
            begun = now_ns()
            with ThreadPoolExecutor(one.workers) as pool:
                for _ in pool.map(session.infer, [frames] * count):
                    pass
            if turn:
                rates[one].append(1e9 * count / (now_ns() - begun))
    return {one: statistics.median(values) for one, values in rates.items()}
