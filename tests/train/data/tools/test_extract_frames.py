"""Videos cut into frames, and combinations of sets."""

from __future__ import annotations

from pathlib import Path

import layouts
import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import TABLE, image_and_mask_folder, labels, picture
from numpy.typing import NDArray
from PIL import Image

from trocar.commands.data import data
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.combine import combine, mapped
from trocar.train.data.io.video import iterate_frames, read_frame, video_info
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.tools.check import check_frames
from trocar.train.data.tools.extract_frames import (
    ExtractConfig,
    extract,
    perceptual_hash,
    red_fraction,
)

# Videos


def scenes(tmp_path: Path) -> Path:
    """A video of 8 still scenes of 10 frames: five inside the body, black, outside, a repeat."""

    def inside(seed: int) -> NDArray[np.uint8]:
        base = picture(seed, 96, 128)[..., :1].astype(int)
        return np.concatenate((120 + base // 2, 60 + base // 4, 50 + base // 4), 2).astype(np.uint8)

    black = np.zeros((96, 128, 3), np.uint8)
    drape = np.zeros((96, 128, 3), np.uint8)
    drape[:] = (60, 120, 170)
    order = [inside(0), inside(1), black, inside(2), drape, inside(1), inside(3), inside(4)]
    path = tmp_path / "Smith_John.mp4"
    layouts.video(path, [frame for frame in order for _ in range(10)], rate=10)
    return path


def test_cutting_leaves_out_black_outside_and_copies(tmp_path: Path) -> None:
    path = scenes(tmp_path)
    counts = extract([path], tmp_path / "pool", ExtractConfig(seconds=0.5))
    # 16 frames are looked at: two of each scene, the second of each a copy.
    assert counts == {"taken": 5, "black": 2, "outside": 2, "copy": 7}
    frames = open_frames(tmp_path / "pool")
    assert [item.name for item in frames] == [f"video001/{n:07d}" for n in (0, 10, 30, 60, 70)]
    assert frames.groups == ("video001",)
    assert not any("Smith" in str(p) for p in (tmp_path / "pool").rglob("*"))
    with Image.open(frames.items[0].image) as written:
        assert not written.info
    named = tmp_path / "named"
    every = ExtractConfig(
        seconds=0,
        every=10,
        max_hash_distance=-1,
        min_red_fraction=0,
        min_brightness=0,
        keep_names=True,
    )
    assert extract([path], named, every)["taken"] == 8
    assert open_frames(named).groups == ("Smith_John",)


def test_videos_that_cannot_be_cut(tmp_path: Path) -> None:
    path = scenes(tmp_path)
    data_of = path.read_bytes()
    cases = {
        "empty.mp4": (b"", "empty"),
        "short.mp4": (data_of[: len(data_of) // 2], "cannot be opened|is truncated"),
        "words.mp4": (b"no video at all", "is a text and no recording"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            extract([path, tmp_path / name], tmp_path / "pool")
    with pytest.raises(DataError, match="there is no video"):
        extract([tmp_path / "nowhere.mp4"], tmp_path / "pool")
    with pytest.raises(DataError, match=r"no frame of 1 videos is left: .*black"):
        extract([path], tmp_path / "pool", ExtractConfig(min_brightness=255))
    with pytest.raises(ConfigError, match="every"):
        ExtractConfig(every=0)
    assert not (tmp_path / "pool").exists()
    result = CliRunner().invoke(data, ["extract-frames", str(path), str(tmp_path / "pool")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "wrote 5 frames" in result.output


def test_frames_by_number_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    layouts.video(path, [np.full((32, 48, 3), 4 * i, np.uint8) for i in range(50)])
    assert video_info(path).frames == 50
    assert video_info(path).size == (32, 48)
    for number in (3, 3, 40, 7):
        assert read_frame(path, number).mean() == pytest.approx(4 * number, abs=3)
    with pytest.raises(DataError, match="has 50 frames, got frame number 50"):
        read_frame(path, 50)
    assert [n for n, _, _ in iterate_frames(path, every=20)] == [0, 20, 40]


def test_real_frames_are_taken_for_inside(samples: Path) -> None:
    frames = open_frames(samples / "cholec_instance_seg_sample")
    images = [frames.read(item).image for item in frames]
    assert min(red_fraction(image) for image in images) > 0.6
    photographs = open_frames(samples / "surgical_tools")
    shares = [red_fraction(photographs.read(item).image) for item in photographs.items[::200]]
    assert max(shares) < 0.15
    hashes = [perceptual_hash(image) for image in images]
    assert len(set(hashes)) == 10


# Combinations


def other_set(root: Path) -> Path:
    image_and_mask_folder(root)
    ClassTable.from_names(["background", "liver", "hook"]).write(root / "classes.toml")
    return root


def test_sets_are_joined_by_a_file(tmp_path: Path) -> None:
    image_and_mask_folder(tmp_path / "one")
    other_set(tmp_path / "two")
    for number in range(4):  # other pictures than those of the first set
        write_picture(tmp_path / "two" / "images" / f"f{number}.png", picture(10 + number))
    (tmp_path / "mix.toml").write_text(
        '[[sets]]\npath = "one"\n[[sets]]\npath = "two"\nsplit = "train"\nothers = "background"\n'
        '[sets.classes]\nhook = "scissors"\n'
    )
    frames = open_frames(tmp_path / "mix.toml")
    assert frames.table.names == TABLE.names
    assert {s: len(n) for s, n in frames.splits.items()} == {"train": 7, "val": 1}
    sample = frames.read(frames.items[5])
    assert sample.name == "1/f1"
    assert sample.mask is not None
    expected = np.array([0, 0, 2], np.uint8)[labels(1)]
    assert np.array_equal(sample.mask, expected)
    assert check_frames(tmp_path / "mix.toml").faults == ()
    with pytest.raises(ConfigError, match="no tasks"):
        open_frames(tmp_path / "mix.toml", task="parts")


def test_classes_that_are_mapped_to_nothing(tmp_path: Path) -> None:
    frames = open_frames(other_set(tmp_path / "two"))
    with pytest.raises(DataError, match="no class is given for liver, hook"):
        mapped(frames, TABLE)
    with pytest.raises(DataError, match=r"'hok' is not known.*'liver' is mapped to 'claw'"):
        mapped(frames, TABLE, classes={"hok": "grasper", "liver": "claw"}, others="background")
    ignored = mapped(frames, TABLE, classes={"liver": "ignore", "hook": "grasper"})
    mask = ignored.read(ignored.items[0]).mask
    assert mask is not None
    assert np.array_equal(mask, np.array([0, 255, 1], np.uint8)[labels(0)])
    with pytest.raises(DataError, match="expected background, grasper"):
        combine([frames], table=TABLE, root=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no sets"),
        ('[[sets]]\npath = "one"\nsplitt = "train"\n', "did you mean split"),
        ('[[sets]]\npath = "one"\nsplit = "training"\n', "as a split"),
        ('[[sets]]\npath = "nowhere"\n', "there is no"),
    ],
)
def test_combination_files_with_faults(text: str, words: str, tmp_path: Path) -> None:
    image_and_mask_folder(tmp_path / "one")
    (tmp_path / "mix.toml").write_text(text)
    with pytest.raises(DataError, match=words):
        open_frames(tmp_path / "mix.toml")


def test_a_part_of_a_set_keeps_what_is_left_of_its_splits(tmp_path: Path) -> None:
    frames: FrameSet = open_frames(image_and_mask_folder(tmp_path / "one"))
    assert frames.only(["f1"]).splits == {"train": ("f1",), "val": ()}
