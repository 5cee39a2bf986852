"""Splits of photographs by image and video, and the record of those that were trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import CheckpointError, DataError
from trocar.evaluation.classification.scoring import open_photos as photos_to_score
from trocar.train.data.classification.open import open_photo_sets, with_splits
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.sample import Photo, PhotoSet, photo_table
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.leakage import fingerprint, unseen_photos
from trocar.train.data.open import training_fingerprint
from trocar.train.methods import find_method
from trocar.train.state.checkpoint import Checkpoint
from trocar.train.state.job import Job
from trocar.train.state.resume import check_same_data
from trocar.train.state.settings import RunConfig

TABLE = photo_table(["a", "b", "c"], source="test")


def crops(root: Path, images: list[tuple[str, list[int]]], groups: list[str]) -> PhotoSet:
    """A set of crops: for each image its name and the classes of its crops."""
    items = []
    for (name, labels), group in zip(images, groups, strict=True):
        file = root / name
        file.write_bytes(f"pixels of {name}".encode())
        items += [
            Photo(name=f"{name}#{n}", file=file, label=k, box=(0, 0, 1, 1), group=group)
            for n, k in enumerate(labels)
        ]
    return PhotoSet(name="crops", root=root, table=TABLE, items=tuple(items), splits={})


def files_of(photos: PhotoSet) -> set[str]:
    return {item.file.name for item in photos}


def test_the_crops_of_one_image_are_on_one_side(tmp_path: Path) -> None:
    images = [(f"{n}.png", [0, 1, n % 3]) for n in range(20)]
    photos = with_splits(crops(tmp_path, images, [""] * 20), 0.2)
    train, val = photos.subset("train"), photos.subset("val")
    assert not files_of(train) & files_of(val)
    assert len(train) + len(val) == len(photos)
    for label in range(3):
        assert 0.15 <= val.counts[label] / photos.counts[label] <= 0.5


def test_videos_are_on_one_side_but_alphabets_are_not(tmp_path: Path) -> None:
    images = [(f"{n}.png", [n % 2]) for n in range(12)]
    videos = [f"video {n // 3}" for n in range(12)]
    photos = with_splits(crops(tmp_path, images, videos), 0.25)
    sides = [{i.group for i in photos.subset(side)} for side in ("train", "val")]
    assert sides[0] | sides[1] == set(videos)
    assert not sides[0] & sides[1]
    # Each class in a group of its own: as classes of one alphabet are.
    alphabets = [f"alphabet {n % 2}" for n in range(12)]
    photos = with_splits(crops(tmp_path, images, alphabets), 0.25)
    assert photos.subset("val").counts.tolist() == [2, 2, 0]


def test_a_class_in_one_video_is_trained_on_and_said(tmp_path: Path) -> None:
    images = [(f"{n}.png", [0, 1]) for n in range(6)] + [("last.png", [2, 2, 2])]
    videos = [f"video {n}" for n in range(7)]
    photos = with_splits(crops(tmp_path, images, videos), 0.2)
    assert photos.subset("train").counts[2] == 3
    assert "none of c, which is in one image or video only" in photos.notes[-1]
    alone = crops(tmp_path, [("x.png", [0]), ("y.png", [1])], ["", ""])
    with pytest.raises(DataError, match="none is left for validation"):
        with_splits(alone, 0.2)


def test_the_split_does_not_depend_on_the_seed_of_the_run(
    photo_kit: ModuleType, tmp_path: Path
) -> None:
    photo_kit.write_folders(tmp_path, {"hook": 6, "grasper": 6}, split=".")
    method = find_method("classifier")
    sets = [
        open_photo_sets(
            DatasetPaths(data=tmp_path), DataConfig(), RunConfig(seed=seed), method(method.Config())
        )
        for seed in (0, 7)
    ]
    names = [[item.name for item in data.validation] for data in sets]
    assert names[0] == names[1]
    record = training_fingerprint(sets[0])
    # The whole folder without splits: what validates is left.
    opened = photos_to_score(
        tmp_path, ClassTable.from_names(["grasper", "hook"]), trained_on=[record]
    )
    assert sorted(item.name for item in opened.photos) == sorted(names[0])
    assert opened.split == "not trained on"
    everything = photos_to_score(
        tmp_path, ClassTable.from_names(["grasper", "hook"]), split="all", trained_on=[record]
    )
    assert len(everything.photos) == 12
    with pytest.raises(DataError, match="was trained on 12 of the 12 photographs"):
        photos_to_score(
            tmp_path,
            ClassTable.from_names(["grasper", "hook"]),
            trained_on=[fingerprint([open_photos(tmp_path)])],
        )


def test_photographs_are_known_under_another_name_and_by_their_image(tmp_path: Path) -> None:
    photos = crops(tmp_path, [("x.png", [0, 1]), ("y.png", [0, 1])], ["", ""])
    record = fingerprint([photos.only(["x.png#0"])])
    # The other crop of the image is seen too.
    assert files_of(unseen_photos(photos, record)) == {"y.png"}
    assert len(unseen_photos(photos, "")) == 4
    (tmp_path / "z.png").write_bytes((tmp_path / "x.png").read_bytes())
    renamed = replace(photos.items[0], name="z.png#0", file=tmp_path / "z.png")
    assert not len(unseen_photos(replace(photos, items=(renamed,)), record))


def test_a_run_of_other_photographs_does_not_resume(photo_kit: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        photo_kit.write_folders(tmp_path / name, {"hook": 4, "grasper": 4}, split="train")
        photo_kit.write_folders(tmp_path / name, {"hook": 2, "grasper": 2}, split="val", first=50)
    photo_kit.write_folders(tmp_path / "two", {"hook": 1}, split="train", first=80)
    photo_kit.write_folders(tmp_path / "three", {"hook": 4, "grasper": 4}, split=".")
    method = find_method("classifier")(find_method("classifier").Config())
    run = RunConfig()

    def job_of(name: str, *, recorded: bool = True) -> Job:
        data = open_photo_sets(DatasetPaths(data=tmp_path / name), DataConfig(), run, method)
        source = {
            "data": {"data": str(tmp_path / name)},
            "trained_on": training_fingerprint(data) if recorded else "",
        }
        return Job(method=method, run=run, data=data, name="x", out=tmp_path, source=source)

    def checkpoint_of(job: Job) -> Checkpoint:
        empty: Any = {}
        return Checkpoint(
            method="classifier", config={}, run={}, spec=empty, step=0, weights={}, optimizer={},
            state={}, source=job.source,
        )  # fmt: skip

    check_same_data(checkpoint_of(job_of("one")), job_of("one"))
    with pytest.raises(CheckpointError, match="1 of the 9 training frames are new"):
        check_same_data(checkpoint_of(job_of("one")), job_of("two"))
    with pytest.raises(CheckpointError, match="missing now"):
        check_same_data(checkpoint_of(job_of("two")), job_of("one"))
    with pytest.raises(CheckpointError, match="kept no record of its photographs"):
        check_same_data(checkpoint_of(job_of("three", recorded=False)), job_of("three"))
    # A set with splits of its own is divided as it was.
    check_same_data(checkpoint_of(job_of("one", recorded=False)), job_of("one"))
    with pytest.raises(CheckpointError, match="data was"):
        check_same_data(checkpoint_of(job_of("one", recorded=False)), job_of("two"))
    assert np.all(job_of("one").data.labelled.counts == 4)
