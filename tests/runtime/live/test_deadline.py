"""Deadlines: when load is shed and restored, exactly at the limits that the documents state."""

from __future__ import annotations

import pytest

from trocar.contract.errors import ConfigError
from trocar.runtime.live.deadline import LOAD_LEVELS, RECOVERY, WINDOW, Deadline

LATE, IN_TIME, FAST = 50.0, 25.0, 10.0


@pytest.mark.parametrize(
    ("late", "sheds"), [(0, False), (WINDOW // 3, False), (14, False), (15, True), (30, True)]
)
def test_load_is_shed_when_half_of_the_last_thirty_are_late(late: int, sheds: bool) -> None:
    assert WINDOW == 30
    for late_ones_first in (False, True):
        deadline = Deadline(30.0, shed_load=True)
        ages = sorted([LATE] * late + [IN_TIME] * (WINDOW - late), reverse=late_ones_first)
        changes = [deadline.record(age) for age in ages]
        # Nothing is decided before thirty results are known.
        assert changes == [False] * (WINDOW - 1) + [sheds]
        assert deadline.level == LOAD_LEVELS[int(sheds)]
        assert deadline.missed == late


def test_results_that_are_older_than_thirty_do_not_count() -> None:
    deadline = Deadline(30.0, shed_load=True)
    for _ in range(20):
        assert not any(deadline.record(age) for age in [LATE] * 14 + [IN_TIME] * 16)
    assert deadline.level == LOAD_LEVELS[0]


def test_each_level_needs_thirty_new_results() -> None:
    deadline = Deadline(30.0, shed_load=True)
    changes = [deadline.record(LATE) for _ in range(200)]
    assert [index for index, changed in enumerate(changes) if changed] == [29, 59, 89, 119]
    assert deadline.level == LOAD_LEVELS[-1]
    assert deadline.missed == 200


def test_a_level_is_restored_after_three_hundred_fast_results_in_a_row() -> None:
    deadline = Deadline(30.0, shed_load=True)
    for _ in range(200):
        deadline.record(LATE)
    assert not any(deadline.record(FAST) for _ in range(RECOVERY - 1))
    deadline.record(IN_TIME)
    assert not any(deadline.record(FAST) for _ in range(RECOVERY - 1))
    assert deadline.record(FAST)
    assert deadline.level == LOAD_LEVELS[-2]


def test_a_result_at_the_deadline_is_in_time() -> None:
    deadline = Deadline(30.0)
    deadline.record(30.0)
    assert deadline.missed == 0
    deadline.record(30.001)
    assert deadline.missed == 1


def test_without_load_shedding_late_results_are_only_counted() -> None:
    deadline = Deadline(30.0)
    assert not any(deadline.record(LATE) for _ in range(100))
    assert deadline.missed == 100
    assert deadline.level == LOAD_LEVELS[0]


def test_levels_are_told_in_words_and_wrong_deadlines_refused() -> None:
    assert "every second frame" in str(LOAD_LEVELS[2])
    assert str(LOAD_LEVELS[0]) == "no load is shed"
    with pytest.raises(ConfigError, match="needs a deadline"):
        Deadline(None, shed_load=True)
    with pytest.raises(ConfigError, match="expected above 0"):
        Deadline(0.0)
