"""Samplers against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.classification.samplers import (
    BalancedSampler,
    EpisodeSampler,
    PKSampler,
    RandomSampler,
)

LABELS = np.repeat(np.arange(6), (30, 12, 6, 4, 2, 1))


def test_pk_is_p_classes_of_k_photographs() -> None:
    sampler = PKSampler(LABELS, p=4, k=4, seed=0)
    met = set()
    for step in range(200):
        drawn = sampler.batch_indices(step).reshape(4, 4)
        classes = LABELS[drawn]
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0].tolist())) == 4
        for row, label in zip(drawn, classes[:, 0], strict=True):
            own = int((label == LABELS).sum())
            # No photograph twice while there are others; every one of a class that is too small.
            assert len(set(row.tolist())) == min(4, own)
        met |= set(classes[:, 0].tolist())
    assert met == set(range(6))


def test_pk_draws_classes_as_often_whatever_they_hold() -> None:
    sampler = PKSampler(LABELS, p=2, k=2, seed=1)
    drawn = np.concatenate([LABELS[sampler.batch_indices(step)[::2]] for step in range(1500)])
    shares = np.bincount(drawn, minlength=6) / len(drawn)
    assert np.abs(shares - 1 / 6).max() < 0.03


def test_pk_refuses_what_it_cannot_give() -> None:
    with pytest.raises(ConfigError, match="P is 7, but there are 6 classes"):
        PKSampler(LABELS, p=7, k=2, seed=0)
    with pytest.raises(ConfigError, match="K is 31, but the largest class has 30"):
        PKSampler(LABELS, p=2, k=31, seed=0)
    with pytest.raises(ConfigError, match="largest class has 12"):
        PKSampler(LABELS, p=2, k=13, seed=0, within=np.array([1, 2]))


def test_random_shows_each_photograph_once_a_pass() -> None:
    sampler = RandomSampler(LABELS, batch=5, seed=0)
    assert len(sampler) == 11
    drawn = np.concatenate([sampler.batch_indices(step) for step in range(22)])
    assert sorted(drawn[:55].tolist()) == list(range(55))
    assert sorted(drawn[55:].tolist()) == list(range(55))
    assert drawn[:55].tolist() != drawn[55:].tolist()
    only = RandomSampler(LABELS, batch=5, seed=0, within=np.array([2, 4]))
    assert set(LABELS[np.concatenate([only.batch_indices(s) for s in range(9)])].tolist()) == {2, 4}


def test_balanced_shows_each_class_as_often() -> None:
    sampler = BalancedSampler(LABELS, batch=50, seed=0)
    drawn = LABELS[np.concatenate([sampler.batch_indices(step) for step in range(100)])]
    assert np.abs(np.bincount(drawn) / len(drawn) - 1 / 6).max() < 0.03


def test_episodes_are_n_ways_k_shots_and_share_no_photograph() -> None:
    sampler = EpisodeSampler(LABELS, ways=3, shots=2, queries=3, seed=0)
    for number in range(50):
        episode = sampler.episode(number)
        assert episode.support.shape == (3, 2)
        assert episode.query.shape == (3, 3)
        assert (LABELS[episode.support] == episode.classes[:, None]).all()
        assert (LABELS[episode.query] == episode.classes[:, None]).all()
        assert len(set(episode.classes.tolist())) == 3
        # Classes 3, 4 and 5 have too few photographs for 2 shots and 3 queries.
        assert set(episode.classes.tolist()) <= {0, 1, 2}
        every = np.concatenate([episode.support.ravel(), episode.query.ravel()])
        assert len(set(every.tolist())) == 15
        assert np.array_equal(sampler.batch_indices(number), every)


def test_more_shots_than_any_class_has_is_refused() -> None:
    with pytest.raises(DataError, match="the largest has 30"):
        EpisodeSampler(LABELS, ways=2, shots=40, queries=1, seed=0)
    with pytest.raises(DataError, match="3 of 6 have as many"):
        EpisodeSampler(LABELS, ways=5, shots=2, queries=3, seed=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: RandomSampler(LABELS, batch=4, seed=seed),
        lambda seed: BalancedSampler(LABELS, batch=4, seed=seed),
        lambda seed: PKSampler(LABELS, p=2, k=2, seed=seed),
        lambda seed: EpisodeSampler(LABELS, ways=2, shots=1, queries=1, seed=seed),
    ],
)
def test_a_step_is_known_by_its_number_and_the_seed(make: object) -> None:
    assert callable(make)
    a, b, other = make(3), make(3), make(4)
    late = b.batch_indices(40).tolist()
    for step in range(40):
        a.batch_indices(step)
    assert a.batch_indices(40).tolist() == late
    assert [other.batch_indices(s).tolist() for s in range(5)] != [
        a.batch_indices(s).tolist() for s in range(5)
    ]
