"""Commands that make data sets and runs write to no input and into no bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_helpers import image_and_mask_folder
from numbered_videos import write
from tiny_bundle import make_tiny_bundle

from trocar.cli import main

COMMANDS = {
    "import": "data import {set} {out}",
    "phantom": "data phantom {out} --count 1 --size 64x64",
    "extract-frames": "data extract-frames {video} {out}",
    "export-labels": "data export-labels {set} {out}",
    "composite": "data composite {set} {out} --foreground {set} --count 1",
    "import-labels": "data import-labels {labels} {set}/images {out}",
    "prelabel": "prelabel {bundle} {set} {out}",
    "train": "train supervised {set} --out {out} --steps 1 --device cpu",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("outputs")
    image_and_mask_folder(root / "set")
    (root / "labels.json").write_text("{}")
    return {
        "bundle": make_tiny_bundle(root / "m.trocar"),
        "set": root / "set",
        "video": write(root / "v.mp4", range(3)) or root / "v.mp4",
        "labels": root / "labels.json",
    }


def everything(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
def test_neither_an_input_nor_a_bundle_is_an_output(
    name: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = places["set"].parent
    before = everything(root)
    outs = {"in the bundle": places["bundle"] / "new"}
    if name != "phantom":
        read = "video" if name == "extract-frames" else "set"
        outs["is an input"] = places["labels" if name == "import-labels" else read]
    for text, out in outs.items():
        with pytest.raises(SystemExit) as stop:
            main([word.format(out=out, **places) for word in COMMANDS[name].split()])
        assert stop.value.code not in (0, 1)
        said = " ".join(capsys.readouterr().err.split())
        assert text in said, (name, said)
        assert "inputs and bundles are never written to" in said
    assert everything(root) == before
