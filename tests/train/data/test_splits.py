"""Training on a fold of a set's protocol: no frame of a video that validates is ever trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import pytest
from click.testing import CliRunner
from torch import Tensor, nn

from trocar.commands.train import train
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.leakage import unseen_frames
from trocar.train.data.loader.batch_stream import Out, SampleDataset
from trocar.train.data.open import open_data
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.methods import find_method, supervised
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
