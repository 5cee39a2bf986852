"""Instance models in ``trocar import-onnx`` and ``trocar run``."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import cv2
import instance_files as files
import numpy as np
import pytest
from instance_bundles import instance_bundle

from trocar.cli import main
from trocar.contract.instances.run_lengths import mask_from_compressed
from trocar.contract.media.label_maps import enlarge
from trocar.runtime.session import Session


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return instance_bundle(tmp_path_factory.mktemp("instances") / "m.trocar")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), files.instance_frame(seed)[..., ::-1])
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    main([str(a) for a in arguments])
    return capsys.readouterr().out


def test_run_writes_masks_that_decode_bit_for_bit(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, folder = tmp_path / "out.jsonl", tmp_path / "masks"
    run(
        capsys,
        "run",
        bundle,
        pictures,
        "--json",
        lines,
        "--json-masks",
        "rle",
        "--save-masks",
        folder,
    )
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(rows) == 3
    with Session.open(bundle, threads=1) as session:
        for seed, row in enumerate(rows):
            expected = session.run(files.instance_frame(seed))
            assert row["schema"] == "1.1"
            assert row["instance_count"] == expected.instance_count
            assert len(row["instruments"]) == len(expected.instruments) > 0
            for got, one in zip(row["instruments"], expected.instruments, strict=True):
                mask = mask_from_compressed(got["mask"]["counts"], tuple(got["mask"]["size"]))
                assert one.mask is not None
                np.testing.assert_array_equal(mask, one.mask.full())
                assert got["instance"] == one.instance


def test_run_writes_polygons(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "out.jsonl.gz"
    run(capsys, "run", bundle, pictures, "--json", lines, "--json-masks", "polygons")
    first = json.loads(gzip.decompress(lines.read_bytes()).splitlines()[0])
    assert all(len(p) >= 6 for one in first["instruments"] for p in one["polygons"])
    assert "mask" not in first["instruments"][0]


def test_films_are_scored_and_drawn_instance_by_instance(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data / "images")
    (data / "masks").mkdir()
    (data / "instances").mkdir()
    with Session.open(bundle, threads=1) as session:
        for seed in range(3):
            found = session.run(files.instance_frame(seed))
            for kind, values in (("masks", found.labels), ("instances", found.instances)):
                assert values is not None
                large = enlarge(values, (90, 120))
                cv2.imwrite(str(data / kind / f"{seed}.png"), large)
    files.TABLE.write(data / "classes.toml")
    (data / "dataset.toml").write_text('group = "^([01])"\n')
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(bundle), str(data), "--video"])
    assert caught.value.code == 3
    assert "do not say which film" in capsys.readouterr().err
    (data / "dataset.toml").write_text('group = "^([0-9])"\nlasting_instances = true\n')
    out = tmp_path / "e"
    text = run(capsys, "evaluate", bundle, data, "--video", "--out", out)
    scores = json.loads((out / "evaluation.json").read_text())
    assert scores["tracking"]["truth"] == "instances"
    assert set(scores["tracking"]["videos"]) == {"0", "1", "2"}
    # Films of one frame: no instrument has an id yet.
    assert scores["tracking"]["HOTA"] == 0
    assert "the instances of the set" in text
    assert scores["scores"]["instance_f1"] == scores["scores"]["instance_pq"] == 1
    assert cv2.imread(str(out / scores["pictures"]["best"][0])) is not None


def test_import_onnx_makes_a_bundle_of_a_named_form(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.onnx").write_bytes(files.detection_file())
    (tmp_path / "spec.toml").write_text(
        'task = "instances"\nheight = 48\nwidth = 64\nnormalise = false\nscore = 0.3\n'
        'classes = [{id = 0, name = "background"}, {id = 1, name = "a", instrument = true}, '
        '{id = 2, name = "b", instrument = true}, {id = 3, name = "c", instrument = true}]\n'
    )
    common = ("--input-spec", tmp_path / "spec.toml", "--frames", pictures)
    out = tmp_path / "m.trocar"
    common = ("import-onnx", tmp_path / "m.onnx", *common)
    text = run(capsys, *common, "--out", out, "--form", "detections")
    assert "lowest mask IoU 1.0000" in " ".join(text.split())
    assert out.is_dir()
    other = (*common, "--out", tmp_path / "n", "--form", "queries")
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in other])
    assert caught.value.code == 15
    assert "does not fit the form queries" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()
