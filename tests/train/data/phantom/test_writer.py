"""The phantom folder: complete, split by scene, readable, and whole or not there at all."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, OutputExistsError
from trocar.train.data.phantom import (
    PhantomConfig,
    parts_table,
    phantom_frames,
    phantom_table,
    write_phantom,
)
from trocar.train.data.phantom.writer import splits_by_clip
from trocar.train.data.readers import open_frames

CONFIG = PhantomConfig(frames=16, size=(64, 80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "set"
    done: list[int] = []
    write_phantom(out, CONFIG, video=True, progress=done.append)
    assert done == list(range(1, 33))
    return out


def test_files_hold_what_was_painted(folder: Path) -> None:
    stems = sorted(p.stem for p in (folder / "images").iterdir())
    assert stems[:3] == ["000000", "000001", "001000"]
    painted = list(phantom_frames(PhantomConfig(frames=16, size=(64, 80), clip_length=2)))
    for stem, frame in zip(stems, painted, strict=True):
        image = cv2.imread(str(folder / "images" / f"{stem}.png"))
        assert np.array_equal(image[..., ::-1], frame.image)
        for name, truth in (
            ("masks", frame.types),
            ("parts", frame.parts),
            ("instances", frame.instances),
        ):
            read = cv2.imread(str(folder / name / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(read, truth)
    tips = json.loads((folder / "tips.json").read_text())
    assert list(tips) == stems
    assert [t["instance"] for t in tips[stems[0]]] == [t.instance for t in painted[0].tips]
    assert ClassTable.read(folder / "classes.toml") == phantom_table()


def test_splits_keep_scenes_whole(folder: Path) -> None:
    splits = {
        split: (folder / "splits" / f"{split}.txt").read_text().split()
        for split in ("train", "val", "test")
    }
    assert [len(v) for v in splits.values()] == [12, 2, 2]
    scenes = [{stem[:3] for stem in stems} for stems in splits.values()]
    assert not scenes[0] & scenes[1]
    assert not (scenes[0] | scenes[1]) & scenes[2]


@pytest.mark.parametrize("clips", [1, 2, 3, 7, 20, 101])
def test_splits_hold_each_scene_once(clips: int) -> None:
    splits = splits_by_clip(clips)
    assert sorted(i for part in splits.values() for i in part) == list(range(clips))
    assert len(splits["train"]) >= 1
    if clips >= 3:
        assert all(splits.values())
    if clips >= 20:
        assert abs(len(splits["train"]) / clips - 0.7) < 0.03


def test_two_processes_write_the_files_of_one(tmp_path: Path) -> None:
    config = PhantomConfig(frames=9, size=(64, 64), clip_length=2)
    files = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        done: list[int] = []
        write_phantom(
            out, config, val_test_fractions=(0.2, 0.0), workers=workers, progress=done.append
        )
        assert done == list(range(1, 10))
        files.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert len(files[0]) == 9 * 4 + 6
    assert files[0] == files[1]
    splits = [p.name for p in sorted(files[0]) if p.parent.name == "splits"]
    assert splits == ["train.txt", "val.txt"]


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5)])
def test_fractions_leave_scenes_for_training(
    tmp_path: Path, fractions: tuple[float, float]
) -> None:
    with pytest.raises(ConfigError, match="fractions for val and test"):
        write_phantom(tmp_path / "set", PhantomConfig(frames=9), val_test_fractions=fractions)


def test_the_reader_finds_frames_groups_and_classes(folder: Path) -> None:
    frames = open_frames(folder)
    assert frames.table == phantom_table()
    assert len(frames.items) == 16
    assert len({item.group for item in frames.items}) == 8
    sample = frames.read(frames.items[0])
    assert sample.mask is not None


def test_the_video_has_a_mask_for_each_frame_and_no_scene_of_the_set(folder: Path) -> None:
    with av.open(str(folder / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        assert stream.codec_context.name == "h264"
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    masks = sorted((folder / "video_masks").iterdir())
    instances = sorted((folder / "video_instances").iterdir())
    assert [file.name for file in masks] == [file.name for file in instances]
    assert len(pictures) == len(masks) == 16
    for pair in zip(masks, instances, strict=True):
        mask, numbers = (cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in pair)
        assert np.array_equal(mask > 0, numbers > 0)
    assert open_frames(folder).lasting_instances
    assert masks[0].name == "000000.png"
    mask = cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED)
    assert mask.shape == pictures[0].shape[:2] == CONFIG.size
    for image in (folder / "images").iterdir():
        still = cv2.imread(str(image))[..., ::-1].astype(int)
        assert np.abs(still - pictures[0]).mean() > 10


def test_parts_can_be_the_masks(tmp_path: Path) -> None:
    write_phantom(tmp_path / "set", PhantomConfig(frames=2, size=(64, 64)), masks="parts")
    assert ClassTable.read(tmp_path / "set" / "classes.toml") == parts_table()
    mask, part = (
        cv2.imread(str(tmp_path / "set" / name / "000000.png"), cv2.IMREAD_UNCHANGED)
        for name in ("masks", "parts")
    )
    assert np.array_equal(mask, part)


def test_nothing_is_left_of_what_was_stopped(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "set", PhantomConfig(frames=4, size=(64, 64)), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_phantom(tmp_path, PhantomConfig(frames=1))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_video_of_odd_size_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be encoded"):
        write_phantom(tmp_path / "set", PhantomConfig(frames=1, size=(65, 64)), video=True)
    with pytest.raises(ConfigError, match="masks"):
        write_phantom(tmp_path / "set", PhantomConfig(frames=1), masks="colours")
    assert list(tmp_path.iterdir()) == []
