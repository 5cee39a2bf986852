"""The clock of ages: it goes on while the machine is suspended."""

from __future__ import annotations

import time

import pytest

from trocar.contract.media import clock


def test_it_is_the_monotonic_clock_of_a_machine_that_stays_awake() -> None:
    before = time.monotonic_ns()
    now = clock.now_ns()
    assert before - 1_000_000 <= now <= time.monotonic_ns() + 1_000_000


def test_it_counts_a_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_MONOTONIC stands meanwhile; what was captured before must not look new."""
    before = clock.now_ns()
    boot = clock._boot_ns
    monkeypatch.setattr(clock, "_boot_ns", lambda: boot() + 600_000_000_000)
    assert clock.now_ns() - before >= 600_000_000_000


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="not Linux")
def test_it_asks_the_boot_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = time.clock_gettime_ns

    def note(which: int) -> int:
        asked.append(which)
        return real(which)

    monkeypatch.setattr(time, "clock_gettime_ns", note)
    clock.now_ns()
    assert asked == [time.CLOCK_BOOTTIME]
