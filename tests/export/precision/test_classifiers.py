"""Classifier bundles in other precisions and as engines, and classes enrolled into them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from command_line import run

from trocar.contract.bundle import open_bundle
from trocar.runtime.enrolment.enroll import enroll
from trocar.runtime.session import Session

SAW = "bone saw"


@pytest.fixture(params=["few", "tail"])
def source(request: pytest.FixtureRequest, few_bundle: Path, tail_bundle: Path) -> Path:
    return {"few": few_bundle, "tail": tail_bundle}[request.param]


@pytest.fixture(scope="module")
def frames(photo_kit: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs side by side, as the parity gate and the calibration take them."""
    root = tmp_path_factory.mktemp("frames")
    for kind in ("grasper", "scissors", "needle holder", "hook"):
        for number in range(300, 304):
            photo_kit.write(root / f"{kind}_{number}.png", photo_kit.picture(kind, number))
    return root


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_class_is_enrolled_into_a_smaller_precision(
    source: Path, precision: str, frames: Path, tmp_path: Path, photo_kit: ModuleType
) -> None:
    out = tmp_path / "small.trocar"
    more = ("--calibrate", frames) if precision == "int8" else ()
    done = run("export", source, "--out", out, "--frames", frames, "--precision", precision, *more)
    assert done == 0
    assert open_bundle(out).manifest.precision == precision
    photos = [photo_kit.picture(SAW, n) for n in range(100, 105)]
    whole = Session.open(source, threads=1)
    with whole, Session.open(out, threads=1) as small:
        for number in (0, 3):
            image = photo_kit.picture("hook", 60 + number)
            expected, got = whole.run(image).scores, small.run(image).scores
            assert expected is not None
            assert got is not None
            spread = float(expected.max() - expected.min())
            assert np.abs(expected - got).max() < 0.15 * spread
    enroll(out, SAW, photos, threads=1)
    with Session.open(out, threads=1) as small:
        found = [
            small.classes[int(np.argmax(small.run(photo_kit.picture(kind, n)).scores))].name
            for kind, numbers in ((SAW, range(200, 206)), ("grasper", range(200, 206)))
            for n in numbers
        ]
    assert found[:6].count(SAW) >= 4
    assert found[6:].count("grasper") >= 4


@pytest.mark.slow
def test_a_classifier_becomes_an_engine_beside_its_graph(
    source: Path, frames: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (extra rtx)")
    out = tmp_path / "engine.trocar"
    done = run(
        "export", source, "--out", out, "--frames", frames, "--precision", "fp16",
        "--engine", "tensorrt-rtx", "--engine-shape", "72x72",
    )  # fmt: skip
    assert done == 0
    engines = [name for name in open_bundle(out).manifest.files if "rtx" in name]
    assert engines
