"""The round view is found in all surroundings, followed, kept for a moment, and not invented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from round_views import SURROUNDINGS, round_view, tissue

from trocar.runtime.locate.field_of_view import (
    FieldOfView,
    FieldOfViewTracker,
    find_field_of_view,
)

CASES: dict[str, dict[str, Any]] = {name: {"surroundings": name} for name in SURROUNDINGS} | {
    "cut off above and below": {"radius": 0.6},
    "beside the middle": {"centre": (0.33, 0.5), "radius": 0.5},
    "cut off on three sides": {"centre": (0.3, 0.45), "radius": 0.6},
    "grey and beside the middle": {"surroundings": "grey", "centre": (0.4, 0.5), "radius": 0.55},
    "picture, cut off": {"surroundings": "picture", "centre": (0.45, 0.5), "radius": 0.53},
    "small": {"radius": 0.25},
    "octagon": {"sides": 8},
    "octagon, cut off": {"sides": 8, "radius": 0.58},
    "1080p, noisy, cut off": {"size": (1080, 1920), "surroundings": "noisy", "radius": 0.6},
}


def error(found: FieldOfView, true: FieldOfView) -> float:
    """Of centre and radius, as a fraction of the radius."""
    centre = float(np.hypot(found.x - true.x, found.y - true.y))
    return max(centre, abs(found.radius - true.radius)) / true.radius


@pytest.mark.parametrize("name", CASES)
def test_the_view_is_found(name: str) -> None:
    for seed in range(1 if "1080p" in name else 3):
        image, true = round_view(seed=seed, **CASES[name])
        found = find_field_of_view(image)
        assert found is not None
        assert error(found, true) < (0.02 if "octagon" in name else 0.008)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bars", ["none", "pillarbox", "letterbox"])
def test_no_view_is_invented(bars: str, seed: int) -> None:
    image = tissue(np.random.default_rng(seed), 480, 640)
    if bars == "pillarbox":
        image[:, :60] = image[:, -60:] = 3
    if bars == "letterbox":
        image[:50] = image[-50:] = 3
    if seed % 2:
        # Light from one side only.
        image = (image * np.linspace(0.05, 1, 640)[None, :, None]).astype(np.uint8)
    assert find_field_of_view(image) is None


def test_images_of_any_size_are_taken() -> None:
    for size in ((1, 1), (2, 3), (7, 5), (40, 3), (100, 100)):
        assert find_field_of_view(np.zeros((*size, 3), np.uint8)) is None
        find_field_of_view(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8))


def follow(tracker: FieldOfViewTracker, frames: int, **case: Any) -> FieldOfView | None:
    image, _ = round_view(**{"size": (240, 320), **case})
    found = None
    for _ in range(frames):
        found = tracker.update(image)
    return found


def test_a_view_that_moves_and_zooms_is_followed() -> None:
    tracker = FieldOfViewTracker()
    follow(tracker, 40)
    for case in ({"centre": (0.42, 0.52)}, {"radius": 0.6}):
        found = follow(tracker, 17, **case)
        _, true = round_view(size=(240, 320), **case)
        assert found is not None
        assert error(found, true) < 0.01


def test_a_view_that_is_lost_for_a_moment_is_kept() -> None:
    tracker = FieldOfViewTracker()
    before = follow(tracker, 40)
    assert before is not None
    dark = np.zeros((240, 320, 3), np.uint8)
    assert [tracker.update(dark) for _ in range(200)] == [before] * 200
    full = tissue(np.random.default_rng(0), 240, 320)
    assert [tracker.update(full) for _ in range(16)] == [before] * 16
    for _ in range(40):
        after = tracker.update(full)
    assert after is None


def test_a_view_of_another_frame_size_is_forgotten_at_once() -> None:
    tracker = FieldOfViewTracker()
    large, _ = round_view(size=(480, 640))
    small, true = round_view(size=(240, 320))
    for _ in range(20):
        assert tracker.update(large) is not None
    found = tracker.update(small)
    assert found is not None
    assert error(found, true) < 0.05
