"""The second graph, for NV12, of every task and precision: through the gate, and in a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_fixtures import small
from nv12_forms import TASKS, exported, nv12_sources, run
from videos import write_video

from trocar.contract.bundle import open_bundle
from trocar.contract.manifest import NV12_GOLDEN, NV12_MODEL
from trocar.contract.media.nv12 import COLOURS, nv12_from_rgb
from trocar.runtime.enrolment.enroll import enroll
from trocar.runtime.session import Session

__all__ = ["nv12_sources", "small"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("task", TASKS)
def test_a_bundle_of_any_task_and_precision_gets_the_second_graph(
    task: str, precision: str, nv12_sources: Any, tmp_path: Path
) -> None:
    source, frames = nv12_sources(task)
    out = exported(source, frames, tmp_path / "out.trocar", precision)
    bundle = open_bundle(out)
    assert bundle.manifest.precision == precision
    assert {NV12_MODEL, NV12_GOLDEN} <= set(bundle.manifest.files)
    assert bundle.manifest.extra["nv12"]["frames"] == len(frames)
    # Both graphs are of the precision: neither is the float32 graph.
    sizes = [len(bundle.read(name)) for name in (NV12_MODEL, "model.onnx")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.25, abs=6000)
    pictures = [nv12_from_rgb(f, COLOURS[i % len(COLOURS)]) for i, f in enumerate(frames)]
    with Session.open(out, threads=1) as planes, Session.open(out, threads=1, nv12=False) as rgb:
        assert planes.takes_nv12
        assert not rgb.takes_nv12
        for picture in pictures:
            found, expected = planes.run(picture), rgb.run(picture.rgb)
            if expected.scores is not None:
                assert found.scores is not None
                spread = float(np.ptp(expected.scores))
                assert np.abs(found.scores - expected.scores).max() < 0.1 * spread
            else:
                assert found.labels is not None
                assert expected.labels is not None
                assert (found.labels == expected.labels).mean() > 0.99
        both = planes.infer(pictures[:2])
        for index, picture in enumerate(pictures[:2]):
            for name, value in planes.infer([picture]).items():
                np.testing.assert_allclose(both[name][index], value[0], atol=2e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_class_is_enrolled_into_both_graphs(
    precision: str, nv12_sources: Any, photo_kit: Any, tmp_path: Path
) -> None:
    source, frames = nv12_sources("few")
    out = exported(source, frames, tmp_path / "out.trocar", precision)
    enroll(out, "bone saw", [photo_kit.picture("bone saw", n) for n in range(100, 105)], threads=1)
    with Session.open(out, threads=1) as session:
        assert session.takes_nv12
        pictures = [nv12_from_rgb(photo_kit.picture("bone saw", n), COLOURS[0]) for n in (200, 201)]
        for picture in pictures:
            found, expected = session.run(picture).scores, session.run(picture.rgb).scores
            assert found is not None
            assert expected is not None
            assert session.classes[int(np.argmax(found))].name == "bone saw"
            assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)


@pytest.mark.parametrize("flags", [(), ("--live",)], ids=["offline", "live"])
@pytest.mark.parametrize(("task", "precision"), [("segmentation", "int8"), ("instances", "fp16")])
def test_a_run_gives_the_planes_to_the_second_graph(
    task: str, precision: str, flags: tuple[str, ...], nv12_sources: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    source, frames = nv12_sources(task)
    out = exported(source, frames, tmp_path / "out.trocar", precision)
    film = write_video(tmp_path / "f.mp4", frames=6)
    given: list[Any] = []
    plain = Session.infer

    def watched(self: Session, batch: Any) -> Any:
        given.append(batch)
        return plain(self, batch)

    monkeypatch.setattr(Session, "infer", watched)
    records = tmp_path / "o.csv"
    assert run("run", out, film, "--csv", records, *flags) == 0
    assert any(isinstance(batch, list) for batch in given)
    # The rows of RGB are those of warming up.
    assert all(isinstance(batch, list) or not batch.any() for batch in given)
    assert records.is_file()
