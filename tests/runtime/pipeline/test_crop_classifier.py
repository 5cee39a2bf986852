"""Two stages: instruments located by one model, named by another, in a video too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from trocar.commands.enroll import enroll as enroll_command
from trocar.commands.run import run
from trocar.contract.errors import BundleError
from trocar.contract.results import FrameResult
from trocar.runtime.enrolment.enroll import enroll
from trocar.runtime.pipeline.crop_classifier import CropClassifier, DecisionRule, open_classifier
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame

SAW = "bone saw"


def view(photo_kit: ModuleType, shift: int) -> NDArray[np.uint8]:
    """A frame with a saw, whose cyan the tiny segmenter calls a clipper, and a grasper."""
    frame = np.full((144, 176, 3), 100, np.uint8)
    frame[20:92, 8 + shift : 80 + shift] = photo_kit.picture(SAW, 500)
    frame[70:142, 100 - shift : 172 - shift] = photo_kit.picture("grasper", 500)
    return frame


def frame_of(image: NDArray[np.uint8], index: int = 0) -> Frame:
    return Frame(image=image, index=index, time=index / 10, captured_ns=0)


@pytest.fixture
def taught(few_bundle: Path, tmp_path: Path, photo_kit: ModuleType) -> Path:
    bundle = Path(shutil.copytree(few_bundle, tmp_path / "tools.trocar"))
    enroll(bundle, SAW, [photo_kit.picture(SAW, n) for n in range(100, 105)], threads=1)
    return bundle


def test_each_instrument_is_named_from_its_crop(
    taught: Path, seg_bundle: Path, photo_kit: ModuleType
) -> None:
    step = open_classifier(taught, threads=1, threshold=-9)
    with Session.open(seg_bundle, threads=1) as session:
        image = view(photo_kit, 0)
        result = step.apply(frame_of(image), session.run(image))
        # The largest on either side; the uneven ground may show a speck of its own.
        saw, grasper = (
            max(
                (one for one in result.instruments if (one.centroid[0] < 88) == left),
                key=lambda one: one.area,
            )
            for left in (True, False)
        )
        assert saw.classified is not None
        assert grasper.classified is not None
        assert saw.classified.name == SAW
        assert grasper.classified.name == "grasper"
        assert 0 < saw.classified.score <= 1
        assert saw.to_dict()["classified"]["name"] == SAW
        # The batch gives what each crop gives alone.
        alone = [step.scores(image, (one,))[0] for one in result.instruments]
        np.testing.assert_allclose(step.scores(image, result.instruments), alone, atol=1e-3)
        strict = CropClassifier(step.session, threshold=9)
        unsure = strict.apply(frame_of(image), session.run(image))
        assert {one.classified.name for one in unsure.instruments if one.classified} == {"unknown"}
    step.close()


def test_a_frame_without_instruments_is_left_alone(taught: Path) -> None:
    step = open_classifier(taught, threads=1)
    empty = FrameResult(frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=(4, 4))
    assert step.apply(frame_of(np.zeros((4, 4, 3), np.uint8)), empty) is empty
    step.close()


def test_certainty_decides_what_is_unknown() -> None:
    scores = np.array([4.0, 8.0, 1.0], np.float32)
    share = float(np.exp(8) / np.exp([4.0, 8.0, 1.0]).sum())
    names = ("a", "b", "c")
    assert DecisionRule(names=names, scale=16.0, threshold=0.5)(scores).name == "b"
    assert DecisionRule(names=names, scale=16.0, threshold=0.51)(scores).name == "unknown"
    assert DecisionRule(names=names, scale=None, threshold=0.95)(scores).name == "b"
    assert DecisionRule(names=names, scale=None, threshold=0.99)(scores).name == "unknown"
    assert DecisionRule(names=names, scale=None, threshold=0.0)(scores).score == pytest.approx(
        share
    )


def test_a_track_is_steadied_over_time(
    taught: Path, seg_bundle: Path, photo_kit: ModuleType
) -> None:
    from dataclasses import replace

    step = open_classifier(taught, threads=1, threshold=-9)
    with Session.open(seg_bundle, threads=1) as session:
        image = view(photo_kit, 0)
        plain = session.run(image)
        tracked = replace(
            plain,
            instruments=tuple(
                replace(one, track_id=number) for number, one in enumerate(plain.instruments)
            ),
        )
        first = step.apply(frame_of(image, 0), tracked).instruments[0].classified
        # The picture turns black: alone that would be another word, but the track remembers.
        black = np.zeros_like(image)
        second = step.apply(frame_of(black, 1), tracked).instruments[0].classified
        assert first is not None
        assert second is not None
        assert second.name == first.name
    step.close()


def test_a_segmenter_is_no_classifier(seg_bundle: Path) -> None:
    with pytest.raises(BundleError, match="segmentation model, expected a classifier"):
        open_classifier(seg_bundle, threads=1)


def test_enrolled_on_the_command_line_and_recognised_in_a_video(
    few_bundle: Path, seg_bundle: Path, tmp_path: Path, photo_kit: ModuleType
) -> None:
    bundle = shutil.copytree(few_bundle, tmp_path / "tools.trocar")
    photos = [
        str(photo_kit.write(tmp_path / f"{n}.png", photo_kit.picture(SAW, n)))
        for n in range(100, 105)
    ]
    runner = CliRunner()
    done = runner.invoke(enroll_command, [str(bundle), "--class", SAW, *photos, "--threads", "1"])
    assert done.exit_code == 0, done.output
    video = tmp_path / "view.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = 144, 176, "yuv444p"
        for shift in range(8):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(view(photo_kit, shift), "rgb24"))
            )
        container.mux(stream.encode())
    lines = tmp_path / "out.jsonl"
    ran = runner.invoke(
        run,
        [str(seg_bundle), str(video), "--classifier", str(bundle), "--reject-below", "-9",
         "--json", str(lines), "--overlay", str(tmp_path / "out.mp4"), "--no-postprocess",
         "--threads", "1"],
        catch_exceptions=False,
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    frames = [record for record in records if "instruments" in record]
    assert len(frames) == 8
    words = [one["classified"]["name"] for frame in frames for one in frame["instruments"]]
    assert words.count(SAW) >= 6
    assert words.count("grasper") >= 6
    assert all("classify" in frame["stages_ms"] for frame in frames)
    assert (tmp_path / "out.mp4").stat().st_size > 0
