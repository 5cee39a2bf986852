"""Phantom scenes: equal by seed, true to their masks, smooth in motion, not told by colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.contract.errors import ConfigError
from trocar.train.data.phantom import (
    PHANTOM_DOMAINS,
    PhantomConfig,
    PhantomFrame,
    parts_table,
    phantom_frames,
    phantom_table,
)
from trocar.train.data.phantom.camera import streak

SMALL = (96, 128)


def frames_of(**settings: object) -> list[PhantomFrame]:
    return list(phantom_frames(PhantomConfig(**({"size": SMALL} | settings))))  # type: ignore[arg-type]


def bits(frame: PhantomFrame) -> tuple[object, ...]:
    arrays = (frame.image, frame.types, frame.parts, frame.instances)
    return (*(array.tobytes() for array in arrays), frame.tips, frame.clip, frame.time)


@pytest.mark.parametrize("domain", PHANTOM_DOMAINS)
def test_equal_seeds_give_equal_bits_whatever_the_number_of_threads(domain: str) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        first = frames_of(frames=4, clip_length=2, domain=domain, difficulty=1.0)
        cv2.setNumThreads(4)
        second = frames_of(frames=4, clip_length=2, domain=domain, difficulty=1.0)
    finally:
        cv2.setNumThreads(before)
    assert [bits(f) for f in first] == [bits(f) for f in second]
    other = frames_of(frames=1, clip_length=2, domain=domain, difficulty=1.0, seed=1)
    assert (other[0].image != first[0].image).mean() > 0.5


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (128, 200)])
def test_arrays_have_the_asked_size_and_only_known_values(size: tuple[int, int]) -> None:
    for frame in frames_of(frames=6, clip_length=1, size=size, difficulty=0.8):
        assert frame.image.shape == (*size, 3)
        for truth in (frame.types, frame.parts, frame.instances):
            assert truth.shape == size
            assert truth.dtype == np.uint8
        assert frame.types.max() < len(phantom_table())
        assert frame.parts.max() < len(parts_table())
        assert np.array_equal(frame.types > 0, frame.parts > 0)
        assert np.array_equal(frame.types > 0, frame.instances > 0)
        for instance in set(np.unique(frame.instances).tolist()) - {0}:
            assert len(np.unique(frame.types[frame.instances == instance])) == 1
        tips = {(tip.instance, tip.class_id) for tip in frame.tips}
        inside = frame.instances > 0
        seen = zip(frame.instances[inside].tolist(), frame.types[inside].tolist(), strict=True)
        assert tips == set(seen)


def test_all_types_and_parts_occur_and_the_tables_name_them() -> None:
    frames = frames_of(frames=20, clip_length=1, size=(64, 80), instruments=(2, 3))
    types = set(np.unique(np.stack([f.types for f in frames])).tolist())
    parts = set(np.unique(np.stack([f.parts for f in frames])).tolist())
    assert types == set(range(len(phantom_table())))
    assert parts == {0, 1, 2, 3}
    assert phantom_table().instrument_ids == (1, 2, 3, 4, 5, 6)
    assert [row.type for row in phantom_table()][1:] == list(phantom_table().names[1:])
    assert parts_table().names == ("background", "shaft", "wrist", "clasper")
    assert len({row.colour for row in phantom_table()}) == len(phantom_table())


def test_tips_lie_at_the_end_of_their_own_clasper() -> None:
    checked = 0
    for frame in frames_of(frames=12, clip_length=1, size=(192, 240), difficulty=0.3):
        for tip in frame.tips:
            if not tip.visible:
                continue
            clasper = (frame.instances == tip.instance) & (frame.parts == 3)
            ys, xs = np.nonzero(clasper)
            if xs.size == 0:
                continue
            near = [np.hypot(xs - x, ys - y).min() for x, y in tip.points]
            assert min(near) <= 4
            checked += 1
    assert checked >= 8


def test_blur_noise_and_smoke_leave_the_ground_truth_where_it_is() -> None:
    clean = frames_of(frames=4, clip_length=2, difficulty=0.0)
    hard = frames_of(frames=4, clip_length=2, difficulty=1.0)
    for a, b in zip(clean, hard, strict=True):
        assert np.array_equal(a.types, b.types)
        assert np.array_equal(a.parts, b.parts)
        assert a.tips == b.tips
        assert (a.image != b.image).mean() > 0.5


@pytest.mark.parametrize("shift", [(5.0, 0.0), (3.3, -4.1), (0.0, 9.0), (-7.0, 2.0)])
def test_a_smear_is_centred(shift: tuple[float, float]) -> None:
    kernel = streak(shift)
    assert kernel is not None
    assert kernel.sum() == pytest.approx(1)
    offset = np.arange(len(kernel)) - len(kernel) // 2
    assert (kernel.sum(0) * offset).sum() == pytest.approx(0, abs=1e-5)
    assert (kernel.sum(1) * offset).sum() == pytest.approx(0, abs=1e-5)
    assert streak((0.5, 0.2)) is None


def test_instruments_move_but_never_leap() -> None:
    frames = frames_of(frames=25, clip_length=25, size=(128, 160), instruments=(2, 2))
    paths: dict[int, list[tuple[float, float]]] = {}
    for frame in frames:
        for tip in frame.tips:
            paths.setdefault(tip.instance, []).append(tip.points[0])
    steps = [np.hypot(*np.diff(np.array(p), axis=0).T) for p in paths.values() if len(p) == 25]
    assert steps
    assert max(s.max() for s in steps) < 0.05 * 160
    assert max(s.sum() for s in steps) > 2
    assert frames[0].clip == frames[-1].clip
    assert frames[1].time == pytest.approx(1 / 25)


def test_a_new_scene_starts_after_each_clip() -> None:
    frames = frames_of(frames=5, clip_length=2)
    assert [f.clip for f in frames] == [0, 0, 1, 1, 2]
    assert [f.time for f in frames] == [0.0, 0.04, 0.0, 0.04, 0.0]
    within = np.abs(frames[0].image.astype(int) - frames[1].image).mean()
    across = np.abs(frames[1].image.astype(int) - frames[2].image).mean()
    assert across > 2 * within


def test_outside_the_round_view_it_is_dark_and_unlabelled() -> None:
    for frame in frames_of(frames=6, clip_length=1, domain="laparoscopy", difficulty=0.0):
        corner = (slice(0, 6), slice(0, 6))
        assert frame.image[corner].mean() < 16
        assert not frame.types[corner].any()


def test_domains_differ_in_colour_far_more_than_scenes_do() -> None:
    means = {
        domain: np.array(
            [
                cv2.cvtColor(f.image, cv2.COLOR_RGB2LAB)[24:72, 32:96].reshape(-1, 3).mean(0)
                for f in frames_of(frames=6, clip_length=1, domain=domain)
            ]
        )
        for domain in PHANTOM_DOMAINS
    }
    a, b = (means[domain][:, 2] for domain in PHANTOM_DOMAINS)
    assert abs(a.mean() - b.mean()) > 1.5 * max(a.std(), b.std())


def _codes(frame: PhantomFrame, bins: int) -> NDArray[np.intp]:
    level = frame.image.astype(np.intp) * bins // 256
    return (level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]


@pytest.mark.parametrize("domain", PHANTOM_DOMAINS)
def test_colour_alone_does_not_find_the_instruments(domain: str) -> None:
    """A table of how often each colour is instrument, the simplest per-pixel classifier."""
    bins = 32
    frames = frames_of(frames=32, clip_length=1, domain=domain, difficulty=0.5)
    train, test = frames[:24], frames[24:]
    counts = np.zeros((2, bins**3))
    for frame in train:
        for label in (0, 1):
            codes = _codes(frame, bins)[(frame.types > 0) == bool(label)]
            counts[label] += np.bincount(codes, minlength=bins**3)
    share = counts[1] / (counts.sum(0) + 1)

    def score(chosen: list[PhantomFrame], level: float) -> float:
        truth = np.stack([f.types > 0 for f in chosen])
        found = np.stack([share[_codes(f, bins)] > level for f in chosen])
        return float((truth & found).sum() / (truth | found).sum())

    level = max(np.linspace(0.05, 0.9, 18), key=lambda x: score(train, float(x)))
    assert 0.05 < score(test, float(level)) < 0.6


def test_every_fault_of_a_configuration_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        PhantomConfig(
            frames=0, size=(10, 10), seed=-1, domain="moon", difficulty=2, clip_length=0,
            instruments=(3, 1), fps=0,
        )  # fmt: skip
    for word in ("frames", "size", "seed", "moon", "difficulty", "clip_length", "instru", "fps"):
        assert word in str(caught.value)
