"""Training on a fold of a set's protocol: no frame of a video that validates is ever trained on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from click.testing import CliRunner
from data_helpers import TABLE, image_and_mask_folder, picture
from torch import Tensor, nn

from trocar.commands.train import train
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.leakage import unseen_frames
from trocar.train.data.loader.batch_stream import Out, SampleDataset
from trocar.train.data.open import open_data
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.methods import find_method, supervised
from trocar.train.methods.protocol import TrainData
from trocar.train.state.checkpoint import read_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

VIDEOS = {"cadaver/S01", "cadaver/S02", "live/L01", "live/L02"}  # each a fold, in this order


@pytest.fixture(scope="module")
def sinus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.uw_sinus(tmp_path_factory.mktemp("sinus"))


@pytest.mark.parametrize(
    ("name", "share"), [("supervised", 1.0), ("supervised", 0.5), ("cross-consistency", 0.5)]
)
@pytest.mark.parametrize("fold", range(4))
def test_no_stream_draws_a_video_that_validates(
    sinus: Path,
    make_method: Callable[..., Any],
    make_run: Callable[..., Any],
    name: str,
    share: float,
    fold: int,
) -> None:
    method = make_method(name)
    config = DataConfig(fold=fold, label_share=share)
    data = open_data(DatasetPaths(data=sinus), config, make_run(), method)
    group = {item.name: item.group for item in open_frames(sinus)}
    assert data.validation is not None
    held = {group[item.name] for item in data.validation}
    assert held == {sorted(VIDEOS)[fold]}
    drawn: set[str] = set()
    for stream in method.streams(data).values():
        for step in range(2 * len(stream)):
            drawn |= {group[frame] for frame in stream.batch(step)["name"]}
    assert drawn
    assert not drawn & held
    if name == "cross-consistency":  # it takes the frames whose labels are hidden, too
        assert drawn == VIDEOS - held


def test_training_on_a_fold_reads_no_video_that_validates(
    sinus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    validated: list[str] = []
    read, evaluate = SampleDataset.read_into, supervised.evaluate_segmentation

    def reading(
        self: SampleDataset, index: int, out: Out
    ) -> tuple[Tensor, Tensor | None, str, int]:
        item = self.stream.spec.frames.items[self.stream.frame_index(index)]
        trained.append(item.group)
        return read(self, index, out)

    def evaluating(
        network: nn.Module, frames: FrameSet, *, size: tuple[int, int]
    ) -> dict[str, float]:
        validated.extend(item.group for item in frames)
        return evaluate(network, frames, size=size)

    monkeypatch.setattr(SampleDataset, "read_into", reading)
    monkeypatch.setattr(supervised, "evaluate_segmentation", evaluating)
    flags = [
        *("--fold", "2", "--out", tmp_path / "run", "--size", "80x64", "--encoder", "tu-lcnet_050"),
        *("--decoder-channels", "16", "--batch-size", "4", "--steps", "3", "--workers", "0"),
        *("--device", "cpu"),
    ]
    words = ["supervised", str(sinus), *map(str, flags)]
    done = CliRunner().invoke(train, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert len(trained) == 12  # two epochs of six frames: all that may be trained on
    assert set(trained) == VIDEOS - {"live/L01"}
    assert set(validated) == {"live/L01"}
    # The model remembers, so that it is not scored on what it knows.
    known = read_checkpoint(tmp_path / "run" / "best.ckpt").source["trained_on"]
    assert unseen_frames(open_frames(sinus), known).groups == ("live/L01",)


def test_training_says_which_videos_validate_where_it_draws_them(
    sinus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr("trocar.train.loop.train", lambda job: jobs.append(job) or {})
    done = CliRunner().invoke(train, ["supervised", str(sinus), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    validation = open_data(
        DatasetPaths(data=sinus), DataConfig(), RunConfig(), find_method("supervised")
    )
    (held,) = validation.validation.groups
    assert f"groups {held} validate" in jobs[0].data.labelled.notes


def write_set(root: Path, shown: dict[str, bool]) -> Path:
    """Frames by name, with an instrument or without."""
    for number, (name, instrument) in enumerate(shown.items()):
        mask = np.zeros((24, 32), np.uint8)
        mask[4:9, 4:9] = instrument
        mask[20:] = 255
        write_picture(root / "images" / f"{name}.png", picture(number))
        write_picture(root / "masks" / f"{name}.png", mask)
    TABLE.write(root / "classes.toml")
    return root


def opened(root: Path, **paths: Path) -> TrainData:
    return open_data(
        DatasetPaths(data=root, **paths),
        DataConfig(val_share=0.25),
        RunConfig(),
        find_method("supervised"),
    )


def names(frames: FrameSet) -> set[str]:
    return {item.name for item in frames}


def test_equal_pictures_on_both_sides_of_the_own_split_are_refused(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set", 5)
    assert len(opened(root).labelled) == 4
    shutil.copy(root / "images" / "f0.png", root / "images" / "f4.png")  # f4 validates
    with pytest.raises(DataError, match=r"(?s)1 of the 4 training .*f0\.png = .*f4\.png"):
        opened(root)
    other = image_and_mask_folder(tmp_path / "other", 3)
    shutil.copytree(root / "images", other / "images", dirs_exist_ok=True)
    shutil.copytree(root / "masks", other / "masks", dirs_exist_ok=True)
    with pytest.raises(DataError, match="training frames are equal to frames that validate"):
        opened(root, validation=other)


def test_a_drawn_split_keeps_equal_pictures_on_one_side(tmp_path: Path) -> None:
    videos = write_set(tmp_path / "videos", {f"{v}/{i}": True for v in "abcd" for i in range(3)})
    before = opened(videos)
    (drawn,) = before.validation.groups
    twin = next(group for group in "abcd" if group != drawn)
    shutil.copy(videos / "images" / drawn / "0.png", videos / "images" / twin / "2.png")
    after = opened(videos)
    assert set(after.validation.groups) in ({drawn, twin}, set("abcd") - {drawn, twin})
    assert not names(after.labelled) & names(after.validation)
    # Without groups, the copy of a frame that validates is not trained on.
    frames = write_set(tmp_path / "frames", {f"{i}": True for i in range(8)})
    shutil.copy(frames / "images" / "7.png", frames / "images" / "1.png")
    data = opened(frames)
    assert names(data.validation) == {"6", "7"}
    assert names(data.labelled) == set("02345")
    assert data.labelled.notes == (
        "no groups are known: the last 2 frames validate; 1 pictures equal to one of them are not "
        "trained on",
    )


def test_frames_without_instruments_do_not_validate(tmp_path: Path) -> None:
    frames = write_set(tmp_path / "frames", {f"{i}": i < 4 for i in range(8)})
    data = opened(frames)
    assert names(data.validation) == {"2", "3"}
    assert data.labelled.notes == (
        "no groups are known: 2 frames, 2 to 3, validate (with those drawn first, one side would "
        "show no class)",
    )
    for shown in "abc":
        videos = write_set(
            tmp_path / shown, {f"{v}/{i}": v in (shown, "d") for v in "abcd" for i in range(3)}
        )
        assert set(opened(videos).validation.groups) <= {shown, "d"}


def test_a_validation_split_without_instruments_is_refused(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", {f"{split}/{i}": split == "train" for split in
                                        ("train", "val") for i in range(3)})  # fmt: skip
    with pytest.raises(DataError, match=r"none of the 3 frames .* no best model") as error:
        opened(root)
    assert "--validation" in error.value.remedy
    alone = write_set(tmp_path / "alone", dict.fromkeys("0123", False))
    with pytest.raises(DataError, match=r"none of the 3 frames .* to train on"):
        opened(alone)
