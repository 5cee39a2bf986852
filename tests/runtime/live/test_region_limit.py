"""Masks that fall apart: the largest regions stay, and the stream says so."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from instance_bundles import instance_bundle
from live_runs import live
from scipy import ndimage

from trocar.runtime.live._region_limit import RegionLimit, _most_regions
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session


def regions(labels: np.ndarray) -> list[int]:
    """Areas of all regions, by another library."""
    areas: list[int] = []
    for class_id in np.unique(labels[labels > 0]):
        numbers, count = ndimage.label(labels == class_id, np.ones((3, 3)))
        areas += list(ndimage.sum_labels(numbers > 0, numbers, range(1, count + 1)).astype(int))
    return sorted(areas, reverse=True)


@pytest.mark.parametrize("most", [1, 7, 40])
@pytest.mark.parametrize("seed", range(4))
def test_the_largest_regions_stay(most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.integers(0, 5, (60, 70)) * (rng.random((60, 70)) < 0.3)).astype(np.uint8)
    before, original = regions(labels), labels.copy()
    limited, count = RegionLimit(most).apply(labels)
    assert np.array_equal(labels, original)
    assert count == len(before) > most
    assert regions(limited) == before[:most]
    assert ((limited == labels) | (limited == 0)).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_quick_bound_is_never_too_low(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 1 + seed % 4, (9, 11)).astype(np.uint8)
    assert _most_regions(labels) >= len(regions(labels))


def test_a_mask_within_the_limit_is_left_as_it_is() -> None:
    labels = np.zeros((50, 50), np.uint8)
    labels[5:20, 5:20] = 1
    labels[20:30, 20:45] = 2
    limited, count = RegionLimit(2).apply(labels)
    assert limited is labels
    assert count == 0
    limited, count = RegionLimit(0).apply(np.eye(60, dtype=np.uint8))
    assert count == 0


def test_instances_that_fall_apart_lose_their_smallest_regions() -> None:
    instances = np.zeros((40, 60), np.uint8)
    instances[:20, :30], instances[:20, 30:] = 1, 2  # of one class: one region of the labels
    instances[24::3, ::3] = 1
    instances[23::3, 1::3] = 2
    labels = (instances > 0).astype(np.uint8)
    classes = np.array([1, 1], np.uint8)
    outputs, count = RegionLimit(2).apply_to_outputs(
        {"instances": instances, "labels": labels, "classes": classes}
    )
    assert count == len(regions(instances)) > 100
    assert regions(outputs["instances"]) == [600, 600]
    assert np.array_equal(outputs["labels"], outputs["instances"] > 0)
    assert outputs["classes"] is classes
    assert instances[24, 0] == labels[24, 0] == 1


def test_few_instances_and_classifiers_stay_as_they_are() -> None:
    for outputs in ({"instances": np.eye(9, dtype=np.uint8), "labels": np.eye(9, dtype=np.uint8)},
                    {"scores": np.ones(4)}):  # fmt: skip
        limited, count = RegionLimit(2).apply_to_outputs(outputs)
        assert limited is outputs
        assert count == 0


class Specks:
    """A session whose masks are specks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def infer(self, frames: np.ndarray) -> dict[str, Any]:
        outputs = dict(self._session.infer(frames))
        labels = np.zeros_like(outputs["labels"])
        labels[:, ::2, ::3] = 1
        if "instances" in outputs:
            outputs |= {"instances": labels.copy(), "classes": np.ones_like(outputs["classes"])}
        return {**outputs, "labels": labels}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.mark.parametrize("task", ["segmentation", "instances"])
def test_the_stream_is_degraded_with_the_reason(
    session: Session, kit: ModuleType, task: str, tmp_path: Path
) -> None:
    if task == "instances":
        session = Session.open(instance_bundle(tmp_path / "m.trocar"))
    (stream,), _ = live(
        Specks(session),
        kit.Camera(frames=9999),
        options=LiveOptions(max_regions=5, max_age_ms=60_000.0),
        until=lambda streams: "DEGRADED" in [c.state for c in streams[0].health.changes],
    )
    assert stream.latest is not None
    assert stream.latest.labels is not None
    assert len(regions(stream.latest.labels)) == 5
    assert any("falls apart" in r for c in stream.health.changes for r in c.reasons)
    if stream.latest.instances is not None:
        assert len(regions(stream.latest.instances)) == 5
