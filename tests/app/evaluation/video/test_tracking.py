"""Tracks over videos whose truth is known: crossing instruments of one class, and classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.evaluation.frames import LabelledFrame, open_evaluation_frames
from trocar.evaluation.model import Predictor
from trocar.evaluation.video.frames import films_of, open_video_frames
from trocar.evaluation.video.tracking import tracking_over_videos, true_instances

TABLE = ClassTable.from_names(["background", "grasper"])
SIZE = (80, 100)
FRAMES = 10


def crossing(step: int) -> np.ndarray:
    """Two bars of one class; the second one passes below the first."""
    instances = np.zeros(SIZE, np.uint8)
    instances[20 + 3 * step : 32 + 3 * step, :70] = 2
    instances[:65, 30:42] = 1
    return instances


@dataclass(frozen=True)
class Film:
    """Frames of `crossing`, in one or more videos."""

    videos: tuple[str, ...] = ("",)
    has_identities: bool = True
    path: Path = Path("film")
    split: str = "video"

    @property
    def count(self) -> int:
        return FRAMES * len(self.videos)

    def __iter__(self) -> Iterator[LabelledFrame]:
        for video in self.videos:
            for step in range(FRAMES):
                instances = crossing(step)
                image = np.full((*SIZE, 3), 40, np.uint8)
                image[0, 0] = step
                yield LabelledFrame(
                    name=f"{video}/{step}", group=video, image=image,
                    mask=(instances > 0).astype(np.uint8), instances=instances,
                )  # fmt: skip

    def only(self, names: object) -> Iterator[LabelledFrame]:
        raise AssertionError("not asked for")


def predictor(task: str) -> Predictor:
    """A model that returns the truth, as instances or as labels."""

    def infer(frames: np.ndarray) -> dict[str, np.ndarray]:
        instances = np.stack([crossing(int(frame[0, 0, 0])) for frame in frames])
        labels = (instances > 0).astype(np.uint8)
        if task == "segmentation":
            return {"labels": labels, "confidence": np.ones(labels.shape, np.float32)}
        count = len(frames)
        return {
            "instances": instances,
            "labels": labels,
            "classes": np.ones((count, 2), np.uint8),
            "scores": np.full((count, 2), 0.9, np.float32),
            "boxes": np.zeros((count, 2, 4), np.float32),
            "count": np.full(count, 2, np.int32),
        }

    manifest = Manifest(
        name="m", task=task, method="x", classes=TABLE,
        input=InputSpec(height=SIZE[0], width=SIZE[1]),
    )  # fmt: skip
    return Predictor(manifest=manifest, infer=infer, backend="test", device="cpu", precision="fp32")


def test_crossing_instruments_of_one_class_keep_their_identities() -> None:
    found = tracking_over_videos(predictor("instances"), Film())
    assert found.truth == "instances"
    # An instrument gets its id in its second frame: one of ten is missed, nothing is wrong.
    assert {name: found.total[name] for name in ("DetA", "AssA", "HOTA", "MOTA")} == pytest.approx(
        dict.fromkeys(("DetA", "AssA", "HOTA", "MOTA"), 0.9)
    )
    assert found.total["IDF1"] == pytest.approx(2 * 18 / (18 + 20))
    assert (found.total["switches"], found.total["identities"], found.total["true"]) == (0, 2, 20)
    joined = tracking_over_videos(predictor("segmentation"), Film())
    assert joined.total["HOTA"] < 0.7  # one region, so one of the two is missed


def test_videos_are_tracked_apart_and_scored_together() -> None:
    found = tracking_over_videos(predictor("instances"), Film(("a", "b")))
    assert set(found.videos) == {"a", "b"}
    assert found.total["HOTA"] == pytest.approx(0.9)
    assert found.total["identities"] == 4
    assert found.to_dict()["videos"]["b"]["switches"] == 0
    with pytest.raises(DataError, match="not in one piece"):
        tracking_over_videos(predictor("instances"), Film(("a", "b", "a")))


def test_without_lasting_numbers_a_class_is_one_instrument() -> None:
    film = Film(has_identities=False)
    found = tracking_over_videos(predictor("segmentation"), film)
    assert found.truth == "classes"
    assert found.total["true"] == FRAMES
    assert found.total["DetA"] == pytest.approx(0.9)
    assert found.crowded == FRAMES


def test_what_is_no_instrument_or_is_ignored_is_no_truth() -> None:
    row = ClassRow(id=1, name="liver", colour=(9, 9, 9))
    frame = next(iter(Film()))
    assert true_instances(frame, ClassTable((TABLE[0], row)))[0] == []
    ignored = replace(frame, mask=np.where(frame.instances == 2, 255, frame.mask).astype(np.uint8))
    numbers, places = true_instances(ignored, TABLE)
    assert numbers == [1]
    assert set(np.unique(places[frame.instances == 2])) == {0}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two films whose frames are mixed in the list."""
    for kind in ("images", "masks", "instances"):
        (tmp_path / kind).mkdir()
    for step in range(3):
        for film in "ba":
            name = f"{step}{film}.png"
            cv2.imwrite(str(tmp_path / "images" / name), np.full((*SIZE, 3), 90, np.uint8))
            cv2.imwrite(str(tmp_path / "masks" / name), (crossing(step) > 0).astype(np.uint8))
            cv2.imwrite(str(tmp_path / "instances" / name), crossing(step))
    TABLE.write(tmp_path / "classes.toml")
    (tmp_path / "dataset.toml").write_text('group = "^[0-9](.)"\nlasting_instances = true\n')
    return tmp_path


def test_the_films_of_a_set_come_one_after_another(films: Path) -> None:
    frames = open_video_frames(films, TABLE)
    assert [frame.name for frame in frames] == ["0a", "1a", "2a", "0b", "1b", "2b"]
    assert frames.has_identities
    (films / "dataset.toml").write_text('group = "^[0-9](.)"\n')
    assert not open_video_frames(films, TABLE).has_identities
    (films / "dataset.toml").write_text("lasting_instances = 1\n")
    with pytest.raises(DataError, match="lasting_instances is 1, expected true or false"):
        open_video_frames(films, TABLE)
    (films / "dataset.toml").unlink()
    with pytest.raises(DataError, match="do not say which film"):
        films_of(open_evaluation_frames(films, TABLE))  # type: ignore[arg-type]
