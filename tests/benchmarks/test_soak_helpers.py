"""What the soak concludes from its curves, its pictures and its records."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmark_helpers import benchmark_helper

bar_code = benchmark_helper("live.bar_code")
faults = benchmark_helper("live.faults")
growing = benchmark_helper("soak.growth")
judging = benchmark_helper("soak.judge")
recording = benchmark_helper("soak.recorder")


def curve(slope: float, *, peaks: bool = False) -> list[Any]:
    """Half an hour: buffers fill for four minutes, then so many MB a minute come in addition."""
    random = np.random.default_rng(2)
    points = []
    for second in range(0, 1800, 5):
        level = 200 + 12 * min(1, second / 240) + slope * second / 60 + random.normal(0, 0.2)
        points.append((second, second * 500, level + 40 * (peaks and second % 300 == 0), 40, 30, 0))
    return points


@pytest.mark.parametrize(("slope", "flat"), [(0.0, True), (0.3, False), (3.0, False)])
@pytest.mark.parametrize("peaks", [False, True])
def test_growth_is_judged_after_the_warm_up_and_not_by_peaks(
    slope: float, flat: bool, peaks: bool
) -> None:
    grown = growing.growth(curve(slope, peaks=peaks), warm_up_s=300)
    assert grown.judged
    assert grown.flat is flat
    assert grown.slope == pytest.approx(slope, abs=0.03)


def test_a_short_run_is_not_judged() -> None:
    assert not growing.growth(curve(3.0)[:80], warm_up_s=300).judged


def test_a_wrong_age_and_a_mask_that_is_too_old_are_found() -> None:
    injector = SimpleNamespace(faults=[], effects=lambda number: [])
    options = SimpleNamespace(max_age_ms=300.0)
    seen = judging.Seen(100)
    picture = np.zeros((96, 128, 3), np.uint8)
    for number in range(40):
        now_ns = time.monotonic_ns()
        # The picture is 900 ms old; it is told as new once.
        bar_code.stamp(picture, (now_ns - 900_000_000 * (number == 20)) // 1_000_000)
        frame = SimpleNamespace(image=picture, captured_ns=now_ns)
        mask = SimpleNamespace(captured_ns=now_ns - 700_000_000 * (number == 30))
        event = SimpleNamespace(frame=frame, result=mask, status="LIVE", visible=True)
        judging.judge(event, seen, 0, injector, options)
    report = judging.age_report([seen])
    assert report.judged == 40
    assert [round(error / 10) for _, _, error in report.wrong] == [90]
    assert seen.lies == 2
    injector.faults.append(faults.Fault("lose", 0, time.monotonic() - 1, time.monotonic()))
    judging.judge(event, seen, 0, injector, options)
    assert judging.age_report([seen]).judged == 40


def test_the_record_names_the_longest_silence() -> None:
    recorder = recording.Recorder()
    assert "0 pictures" in recorder.before(time.monotonic())
    now_ns = time.monotonic_ns()
    for captured_ms in (-400, -380, -30, 0):
        recorder.shown(
            SimpleNamespace(
                frame=SimpleNamespace(
                    captured_ns=now_ns + captured_ms * 1_000_000,
                    arrival=SimpleNamespace(late_ms=7.0),
                ),
                result=None,
            )
        )
    text = recorder.before(time.monotonic())
    assert "4 pictures" in text
    assert "of captures 350 ms" in text
    assert "late by 7 ms" in text
