"""What opening the sets of a run does with frames without instruments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_helpers import image_and_mask_folder

from trocar.contract.media.pictures import write_picture
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.open import open_frame_sets
from trocar.train.methods.supervised import Supervised
from trocar.train.state.settings import RunConfig


@pytest.mark.parametrize(("setting", "noted"), [("in-every-batch", True), ("as-drawn", False)])
def test_empty_training_frames_are_noted_and_drawn(
    setting: str, noted: bool, tmp_path: Path
) -> None:
    root = image_and_mask_folder(tmp_path, 8)
    write_picture(root / "masks" / "f1.png", np.zeros((24, 32), np.uint8))
    method = Supervised(Supervised.Config(size=(32, 32)))
    config = DataConfig(empty_frames=setting)
    run = RunConfig(steps=1, batch_size=2, workers=0)
    data = open_frame_sets(DatasetPaths(data=root, validation=root), config, run, method)
    names = [item.name for item in data.labelled]
    assert [names[index] for index in data.empty] == (["f1"] if noted else [])
    assert any("1 frames without instruments" in n for n in data.labelled.notes) == noted
    (stream,) = method.streams(data).values()
    drawn = [name for step in range(3) for name in stream.batch(step)["name"]]
    assert (drawn[::2] == ["f1"] * 3) == noted
