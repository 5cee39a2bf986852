"""The layout can be named; equal pictures under other names are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from data_helpers import image_and_mask_folder, picture

from trocar.commands.data import data
from trocar.contract.errors import ConfigError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.leakage import fingerprint, unseen_frames
from trocar.train.data.readers import LAYOUTS, open_frames, recognise, scan_frames
from trocar.train.data.tools.check import check_frames


def test_the_layout_can_be_named(tmp_path: Path) -> None:
    for name in ("train/grasper/a.png", "train/hook/b.png", "images/c.png"):
        write_picture(tmp_path / name, picture(len(name)))
    assert recognise(tmp_path)[0] is LAYOUTS["class-folders"]
    assert [item.name for item in open_frames(tmp_path, layout="folder")] == ["c"]
    assert scan_frames(tmp_path, layout="folder")[1] == (
        "image-and-mask folder: chosen by --layout"
    )
    done = CliRunner().invoke(data, ["check", str(tmp_path), "--layout", "folder"])
    assert done.exit_code == 0, done.output
    assert "image-and-mask folder: chosen by --layout" in done.output
    out = str(tmp_path / "out")
    words = ["import", str(tmp_path), out, "--layout", "folder"]
    assert CliRunner().invoke(data, words).exit_code == 0
    assert len(open_frames(out)) == 1
    (tmp_path / "dataset.toml").write_text('layout = "folder"\n')
    assert len(open_frames(tmp_path)) == 1


def test_an_unknown_layout_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean folder") as error:
        open_frames(tmp_path, layout="foldr")
    assert "yolo-polygons" in error.value.remedy
    (tmp_path / "dataset.toml").write_text('layout = "endovis-2017"\n')
    with pytest.raises(ConfigError, match="did you mean endovis2017"):
        open_frames(tmp_path)


def test_equal_pictures_of_two_splits_are_faults(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    assert check_frames(root).faults == ()
    shutil.copy(root / "images" / "f0.png", root / "images" / "f3.png")  # f3 is the val split
    (fault,) = check_frames(root).faults
    assert fault.file.name == "f3.png"
    assert fault.text.startswith("leakage: is of split 'val' and equal, byte for byte, to ")
    shutil.copy(root / "images" / "f0.png", root / "images" / "f1.png")
    report = check_frames(root)
    assert len(report.faults) == 1
    assert report.notes == (
        "1 pictures are equal, byte for byte, to another one under another name",
    )


@pytest.mark.parametrize("size", [24, 400])  # 400: files longer than the ends that are read
def test_a_renamed_copy_is_known_to_have_been_trained_on(size: int, tmp_path: Path) -> None:
    root, copy = tmp_path / "set", tmp_path / "copy"
    for number in range(4):
        write_picture(root / "images" / f"{number}.png", picture(number, size, size))
    known = fingerprint([open_frames(root).only(["0", "1"])])
    (copy / "images" / "op1").mkdir(parents=True)
    for number in range(4):
        name = f"images/op1/renamed{number}.png" if number < 2 else f"images/other{number}.png"
        shutil.copy(root / "images" / f"{number}.png", copy / name)
    assert [item.name for item in unseen_frames(open_frames(copy), known)] == ["other2", "other3"]
