from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trocar.contract.media.clock import PresentationClock

STAMPS = st.lists(st.none() | st.floats(-1e5, 1e5), max_size=60)


@given(stamps=STAMPS, reordered=st.booleans(), fps=st.none() | st.floats(1, 240))
def test_time_begins_at_zero_and_never_goes_back(stamps, reordered, fps) -> None:
    clock = PresentationClock(fps=fps, reordered=reordered)
    for stamp in stamps:
        if stamp is not None:
            clock.expect(stamp)
    times = [clock.time_of(stamp) for stamp in stamps]
    assert times[:1] in ([], [0.0])
    assert all(a < b for a, b in pairwise(times))


def test_credible_stamps_are_kept() -> None:
    clock = PresentationClock(fps=25)
    assert [clock.time_of(t) for t in (10, 10.04, 10.5, 20)] == pytest.approx([0, 0.04, 0.5, 10])
    assert (clock.corrections, clock.restarts) == (0, 0)


def test_a_small_step_back_is_one_frame_on() -> None:
    clock = PresentationClock(fps=10)
    assert [clock.time_of(t) for t in (0, 0.1, 0.05, 0.3)] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (clock.corrections, clock.restarts) == (1, 0)


def test_a_clock_that_starts_again_goes_on() -> None:
    clock = PresentationClock(fps=10)
    times = [clock.time_of(t) for t in (7, 7.1, 9, 0, 0.1, 0.2)]
    assert times == pytest.approx([0, 0.1, 2, 2.1, 2.2, 2.3])
    assert (clock.corrections, clock.restarts) == (0, 1)


def test_frames_without_stamps_follow_the_rate() -> None:
    clock = PresentationClock(fps=50)
    assert [clock.time_of(None) for _ in range(3)] == pytest.approx([0, 0.02, 0.04])
    assert clock.time_of(99) == pytest.approx(0.06)
    assert clock.time_of(99.5) == pytest.approx(0.56)


def test_decoding_order_is_sorted() -> None:
    clock = PresentationClock(fps=25, reordered=True)
    for stamp in (1, 2, 3, 4, 5):
        clock.expect(stamp / 25)
    times = [clock.time_of(stamp / 25) for stamp in (1, 3, 4, 2, 5)]
    np.testing.assert_allclose(times, np.arange(5) / 25)
    assert clock.corrections == 3


def test_packets_without_frames_do_not_shift_what_follows() -> None:
    clock = PresentationClock(fps=25, reordered=True)
    for stamp in range(1, 61):
        clock.expect(stamp / 25)
    clock.forget(2 / 25)
    assert clock.time_of(1 / 25) == 0
    assert clock.time_of(3 / 25) == pytest.approx(2 / 25)
    # Frames 4 to 40 never came and nobody said so.
    assert clock.time_of(41 / 25) >= (41 - 16 - 1) / 25
