"""A bundle that takes NV12: runs use its second graph by themselves, with the same results."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from nv12_bundles import changed_golden, make_nv12_bundle
from tiny_bundle import tiny_frame
from videos import write_video

from trocar.cli import cli
from trocar.contract.bundle import open_bundle
from trocar.contract.errors import ArgumentError, BundleError, ParityError
from trocar.contract.manifest import NV12_MODEL
from trocar.contract.media.nv12 import COLOURS, Nv12Picture, nv12_from_rgb
from trocar.runtime.pipeline.assemble import open_session
from trocar.runtime.pipeline.options import ModelOptions
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame
from trocar.runtime.sources.images import ImageFolder
from trocar.runtime.sources.video import VideoSource


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No test may change it."""
    return make_nv12_bundle(tmp_path_factory.mktemp("nv12") / "tiny.trocar")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_planes_give_the_labels_of_their_rgb(bundle: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    with Session.open(bundle, threads=1, backend=backend) as session:
        assert session.takes_nv12
        for index, colour in enumerate(COLOURS):
            # Even and odd sizes.
            image = tiny_frame(375 + index, 502 - index, shift=3 * index)
            picture = nv12_from_rgb(image, colour)
            labels, expected = session.run(picture).labels, session.run(picture.rgb).labels
            assert labels is not None
            assert np.mean(labels == expected) > 0.994
            assert set(np.unique(labels)) == {0, 1, 2}


def test_a_batch_has_colours_of_its_own(bundle: Path) -> None:
    pictures = [nv12_from_rgb(tiny_frame(90, 110), colour) for colour in COLOURS]
    with Session.open(bundle, threads=1) as session:
        together = session.infer(pictures)["labels"]
        alone = [session.infer([picture])["labels"][0] for picture in pictures]
        np.testing.assert_array_equal(together, np.stack(alone))
        with pytest.raises(ArgumentError, match="frames of a batch differ in size"):
            session.infer([pictures[0], nv12_from_rgb(tiny_frame(92, 110), COLOURS[0])])
        with pytest.raises(ArgumentError, match=r"expected a uint8 array .* or a list of"):
            session.infer([tiny_frame(90, 110)])  # type: ignore[list-item]


def test_rgb_goes_to_the_first_graph(bundle: Path, tiny_bundle: Path) -> None:
    image = tiny_frame(96, 120)
    with Session.open(bundle, threads=1) as both, Session.open(tiny_bundle, threads=1) as plain:
        np.testing.assert_array_equal(both.run(image).labels, plain.run(image).labels)


@pytest.mark.parametrize("settings", [{"nv12": False}, {"fast_resize": True}])
def test_without_the_second_graph_planes_are_converted(
    bundle: Path, settings: dict[str, bool]
) -> None:
    picture = nv12_from_rgb(tiny_frame(96, 120), "bt709-full")
    with Session.open(bundle, threads=1, **settings) as session:
        assert not session.takes_nv12
        np.testing.assert_array_equal(session.run(picture).labels, session.run(picture.rgb).labels)


def test_a_bundle_without_it_converts_planes(session: Session) -> None:
    picture = nv12_from_rgb(tiny_frame(96, 120), "bt709-full")
    np.testing.assert_array_equal(
        session.infer([picture, picture])["labels"][1], session.run(picture.rgb).labels
    )


def test_a_frame_is_converted_when_its_image_is_read() -> None:
    reads: list[int] = []

    def convert() -> Any:
        reads.append(threading.get_ident())
        return np.zeros((4, 6, 3), np.uint8)

    picture = Nv12Picture(
        luma=np.zeros((4, 6), np.uint8),
        chroma=np.full((2, 3, 2), 128, np.uint8),
        colour="bt709-limited",
        convert=convert,
    )
    frame = Frame(image=picture, index=3, time=0.5, captured_ns=7)
    later = frame.changed(time=1.0)
    assert (later.size, later.time, later.index, later.picture is picture) == ((4, 6), 1.0, 3, True)
    assert reads == []
    assert frame.image is later.image
    assert len(reads) == 1


def test_a_run_gives_the_model_the_decoders_planes(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a sink of pictures no frame is converted; the records are those of the RGB path."""
    film = write_video(tmp_path / "f.mp4", frames=6)
    converted: list[int] = []
    from trocar.contract.media.video import conversion, decoder

    real = conversion.rgb_from_frame

    def counted(frame: Any) -> Any:
        converted.append(1)
        return real(frame)

    monkeypatch.setattr(conversion, "rgb_from_frame", counted)
    monkeypatch.setattr(decoder, "rgb_from_frame", counted)

    def run(*flags: str) -> str:
        out = tmp_path / "o.csv"
        command = ["run", str(bundle), str(film), "--csv", str(out), "--overwrite", *flags]
        result = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return out.read_text()

    planes = run()
    assert converted == []
    assert len(planes.splitlines()) > 6
    run("--overlay", str(tmp_path / "o.mp4"))
    assert len(converted) == 6
    run("--fast-resize")
    assert len(converted) == 12


def test_sources_that_have_no_planes_leave_the_graph_closed(bundle: Path, tmp_path: Path) -> None:
    film = VideoSource(str(write_video(tmp_path / "f.mp4", frames=2)))
    with open_session(ModelOptions(path=bundle), live=False, sources=[film]) as session:
        assert session.takes_nv12
        assert film.nv12
        assert isinstance(next(film.frames()).picture, Nv12Picture)
    film.close()
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), tiny_frame(20, 30))
    images = ImageFolder(tmp_path / "a.png", fps=25.0)
    with open_session(ModelOptions(path=bundle), live=False, sources=[images]) as session:
        assert not session.takes_nv12


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"luma": None}, BundleError, "holds no NV12 frame"),
        ({"chroma": np.zeros((3, 4, 2), np.uint8)}, BundleError, "holds no NV12 frame"),
        ({"colour": np.array([6], np.uint8)}, BundleError, "holds no NV12 frame"),
        ({"colour": np.array([3], np.uint8)}, ParityError, "converted to other colours"),
        ({"labels": np.zeros((64, 80), np.uint8)}, ParityError, "differs from the exporter"),
    ],
)
def test_a_golden_frame_that_does_not_fit_is_refused(
    bundle: Path, tmp_path: Path, arrays: dict[str, Any], error: type, message: str
) -> None:
    path = changed_golden(bundle, tmp_path / "b.trocar", **arrays)
    with pytest.raises(error, match=message):
        Session.open(path, threads=1)
    Session.open(path, threads=1, nv12=False).close()


def test_inspect_says_what_the_bundle_takes(bundle: Path, tiny_bundle: Path) -> None:
    def printed(path: Path) -> str:
        return CliRunner().invoke(cli, ["inspect", str(path)], catch_exceptions=False).output

    assert "NV12" in printed(bundle)
    assert "of labels as from RGB" in " ".join(printed(bundle).split())
    assert "NV12" not in printed(tiny_bundle)
    assert NV12_MODEL in open_bundle(bundle).manifest.files
