"""`trocar run` on files: all frames in order and complete outputs, or an error and no outputs."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from trocar.commands.inspect import inspect
from trocar.commands.run import run
from trocar.contract.errors import (
    ConfigError,
    OutputExistsError,
    SinkError,
    SourceError,
    TrocarError,
)
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.offline import LosslessOptions, run_lossless
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback
from trocar.runtime.sources.iterator import IteratorSource
from trocar.runtime.sources.open import open_source


def invoke(*args: object) -> None:
    """Runs the command; the error that ended it is raised."""
    done = CliRunner().invoke(run, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_output_at_once(
    tiny_bundle: Path, video: Path, tmp_path: Path, kit: ModuleType
) -> None:
    invoke(
        *(tiny_bundle, video, "--overlay", tmp_path / "o.mp4", "--json", tmp_path / "o.jsonl"),
        *(
            "--csv",
            tmp_path / "o.csv",
            "--save-frames",
            tmp_path / "f",
            "--save-masks",
            tmp_path / "m",
        ),
    )
    assert left(tmp_path) == ["f", "m", "o.csv", "o.jsonl", "o.mp4"]
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(30))
    assert [line["time"] for line in lines] == pytest.approx([i / 25 for i in range(30)])
    assert {i["class"] for i in lines[5]["instruments"]} == {"grasper", "scissors"}
    assert {i["track_id"] for i in lines[29]["instruments"]} == {1, 2}
    assert lines[29]["present"] == ["grasper", "scissors"]
    pictures = kit.read_video(tmp_path / "o.mp4")
    assert len(pictures) == 30
    original = kit.read_video(video)
    assert pictures[0].shape == original[0].shape
    assert np.abs(pictures[9].astype(int) - original[9]).mean() > 1
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert len(rows) == sum(len(line["instruments"]) for line in lines)
    assert float(rows[0]["x0"]) == lines[0]["instruments"][0]["box"][0]
    mask = cv2.imread(str(tmp_path / "m" / "000003.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (120, 160)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert len(left(tmp_path / "f")) == 31  # with the file that says whose folder it is


def test_a_run_imports_only_what_it_needs(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    # Each of these takes a tenth of a second or more before the first result.
    heavy = (
        "scipy.optimize",
        "scipy.linalg",
        "numpy.ma",
        "prometheus_client",
        "torch",
        "onnx",
        "ray",
    )
    code = (
        "import sys\nfrom trocar.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    out = tmp_path / "o.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(tiny_bundle), str(video), "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert len(out.read_text().splitlines()) == 30


def test_several_workers_keep_the_order_and_the_answer(tiny_bundle: Path, video: Path) -> None:
    found: dict[int, list[tuple[int, tuple[float, ...]]]] = {}
    for workers in (1, 3):
        events: list[FrameEvent] = []
        with Session.open(tiny_bundle, threads=1) as session:
            summary = run_lossless(
                FrameProcessor(session),
                open_source(video),
                sinks=[Callback(events.append)],
                painter=Painter(session.classes),
                options=LosslessOptions(workers=workers),
            )
        assert (summary.counts.read, summary.counts.processed, summary.counts.written) == (30,) * 3
        results = [event.result for event in events]
        found[workers] = [(r.frame_id, r.instruments[0].box) for r in results if r is not None]
    assert found[1] == found[3]
    assert [frame for frame, _ in found[1]] == list(range(30))


def test_odd_sizes_grow_by_one(tiny_bundle: Path, kit: ModuleType, tmp_path: Path) -> None:
    source = kit.write_video(
        tmp_path / "odd.mkv",
        frames=6,
        height=97,
        width=131,
        codec="ffv1",
        pix_fmt="yuv444p",
        options={},
    )
    invoke(tiny_bundle, source, "--overlay", tmp_path / "o.mp4")
    assert kit.read_video(tmp_path / "o.mp4")[0].shape == (98, 132, 3)


def test_turned_ten_bit_and_variable_rate_video(kit: ModuleType, tmp_path: Path) -> None:
    turned = kit.write_video(tmp_path / "turned.mp4", frames=3, rotation=90)
    assert next(open_source(turned).frames()).image.shape == (160, 120, 3)
    deep = kit.write_video(
        tmp_path / "deep.mkv", frames=3, codec="ffv1", pix_fmt="yuv422p10le", options={}
    )
    image = next(open_source(deep).frames()).image
    assert np.abs(image.astype(int) - kit.picture(0)).mean() < 4
    uneven = kit.write_video(tmp_path / "uneven.mp4", frames=4, times=[0, 1, 5, 11])
    assert [f.time for f in open_source(uneven).frames()] == pytest.approx([0, 0.04, 0.2, 0.44])


def test_interlaced_video_is_deinterlaced(kit: ModuleType, tmp_path: Path) -> None:
    path = kit.write_video(
        tmp_path / "i.ts",
        frames=8,
        codec="mpeg2video",
        options={"flags": "+ilme+ildct", "b": "2M"},
    )
    frames = list(open_source(path).frames())
    assert len(frames) >= 7
    assert np.abs(frames[2].image.astype(int) - kit.picture(2)).mean() < 12


def test_a_folder_of_images_is_a_source(tiny_bundle: Path, kit: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in (2, 0, 1):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), kit.picture(index)[..., ::-1])
    frames = list(open_source(tmp_path / "in").frames())
    assert [np.array_equal(f.image, kit.picture(i)) for i, f in enumerate(frames)] == [True] * 3
    invoke(tiny_bundle, tmp_path / "in", "--json", tmp_path / "o.jsonl")
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 3


def _truncated(kit: ModuleType, folder: Path) -> Path:
    whole = kit.write_video(
        folder / "whole.mp4", frames=60, container_options={"movflags": "faststart"}
    )
    data = whole.read_bytes()
    whole.unlink()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    return folder / "cut.mp4"


def _headless(kit: ModuleType, folder: Path) -> Path:
    whole = kit.write_video(folder / "whole.mp4", frames=60)
    data = whole.read_bytes()
    whole.unlink()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    return folder / "cut.mp4"


def _empty(kit: ModuleType, folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def _audio(kit: ModuleType, folder: Path) -> Path:
    path: Path = kit.write_audio(folder / "audio.mp4")
    return path


def _text(kit: ModuleType, folder: Path) -> Path:
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    return folder / "text.mp4"


def _missing(kit: ModuleType, folder: Path) -> Path:
    return folder / "missing.mp4"


def _resized(kit: ModuleType, folder: Path) -> Path:
    """A transport stream simply goes on with another size, as a switched camera does."""
    a = kit.write_video(folder / "a.ts", frames=20)
    b = kit.write_video(folder / "b.ts", frames=20, height=96, width=128)
    (folder / "both.ts").write_bytes(a.read_bytes() + b.read_bytes())
    a.unlink()
    b.unlink()
    return folder / "both.ts"


def _bad_image(kit: ModuleType, folder: Path) -> Path:
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images" / "0.png"), kit.picture(0))
    (folder / "images" / "1.png").write_bytes(b"no image")
    return folder / "images"


def _no_images(kit: ModuleType, folder: Path) -> Path:
    (folder / "images").mkdir()
    return folder / "images"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            _truncated,
            r"cut.mp4 is truncated: it ends after \d+ frames: \d+ bytes are missing",
        ),
        (_headless, r"cut.mp4 is damaged and cannot be opened: \d+ bytes are missing"),
        (_empty, r"empty.mp4 is empty \(0 bytes\)"),
        (_audio, "contains no video, only audio"),
        (_text, "text.mp4 is a text and no recording"),
        (_missing, r"missing.mp4 does not exist"),
        (_resized, "changes its frame size at frame 2[0-9]: from 160x120 to 128x96"),
        (_bad_image, r"1.png cannot be decoded as a picture"),
        (_no_images, "contains no images"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    tiny_bundle: Path,
    kit: ModuleType,
    tmp_path: Path,
    make: Callable[[ModuleType, Path], Path],
    words: str,
) -> None:
    source = make(kit, tmp_path)
    before = left(tmp_path)
    with pytest.raises(SourceError, match=words) as caught:
        invoke(
            *(tiny_bundle, source, "--overlay", tmp_path / "o.mp4"),
            *("--json", tmp_path / "o.jsonl", "--save-frames", tmp_path / "f"),
        )
    assert caught.value.remedy
    assert left(tmp_path) == before


def test_allow_truncated_takes_what_there_is(
    tiny_bundle: Path, kit: ModuleType, tmp_path: Path
) -> None:
    source = _truncated(kit, tmp_path)
    invoke(tiny_bundle, source, "--json", tmp_path / "o.jsonl", "--allow-truncated")
    assert 5 < len((tmp_path / "o.jsonl").read_text().splitlines()) < 60


def test_outputs_that_exist_are_refused_before_any_work(
    tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    for flag, name in (("--overlay", "o.mp4"), ("--json", "o.jsonl"), ("--csv", "o.csv")):
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputExistsError, match=name):
            invoke(tiny_bundle, video, flag, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").touch()
    with pytest.raises(OutputExistsError, match="not empty"):
        invoke(tiny_bundle, video, "--save-frames", tmp_path / "f")
    invoke(tiny_bundle, video, "--json", tmp_path / "o.jsonl", "--overwrite", "--max-frames", 2)
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("name", ["o.mp4", "o.jsonl", "o.csv"])
def test_a_full_disk_is_named_and_leaves_nothing(
    tiny_bundle: Path, video: Path, tmp_path: Path, name: str
) -> None:
    """A file size limit stands in for the full disk: writing fails in the same place."""
    flag = {"o.mp4": "--overlay", "o.jsonl": "--json", "o.csv": "--csv"}[name]
    code = (
        "import resource, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from trocar.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(tiny_bundle), str(video), flag, name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == SinkError.code, done.stderr
    assert f"cannot write {name}" in done.stderr
    assert "Traceback" not in done.stderr
    assert left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_a_signal_leaves_nothing(
    tiny_bundle: Path, kit: ModuleType, minute: Path, tmp_path: Path, number: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trocar.cli", "run", str(tiny_bundle), str(minute), "--realtime",
         "--overlay", "o.mp4", "--json", "o.jsonl"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert kit.until(lambda: bool(left(tmp_path)))
    process.send_signal(number)
    _, words = process.communicate(timeout=90)
    assert process.returncode == 130, words
    assert "Traceback" not in words
    assert left(tmp_path) == []


def test_a_sink_that_raises_ends_the_run_and_removes_the_rest(
    tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    from trocar.runtime.sinks.records import JsonLines

    def fail(event: FrameEvent) -> None:
        if event.frame.index == 5:
            raise SinkError("the callback is unhappy", remedy="cheer it up")

    with Session.open(tiny_bundle, threads=1) as session, pytest.raises(SinkError, match="unhappy"):
        run_lossless(
            FrameProcessor(session),
            open_source(video),
            sinks=[JsonLines(tmp_path / "o.jsonl"), Callback(fail)],
            painter=Painter(session.classes),
        )
    assert left(tmp_path) == []


def test_a_python_iterator_is_a_source(tiny_bundle: Path, kit: ModuleType) -> None:
    events: list[FrameEvent] = []
    with Session.open(tiny_bundle, threads=1) as session:
        run_lossless(
            FrameProcessor(session),
            IteratorSource([kit.picture(i) for i in range(4)], fps=10.0),
            sinks=[Callback(events.append)],
            painter=Painter(session.classes),
        )
        with pytest.raises(TrocarError, match="uint8"):
            run_lossless(
                FrameProcessor(session),
                IteratorSource([np.zeros((4, 4), np.float32)]),
                sinks=[],
                painter=Painter(session.classes),
            )
    assert [event.frame.time for event in events] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_flags_that_make_no_sense_are_refused(tiny_bundle: Path, video: Path) -> None:
    with pytest.raises(ConfigError, match="no source"):
        invoke(tiny_bundle)
    with pytest.raises(ConfigError, match="--serve, --deadline-ms: for live runs only"):
        invoke(tiny_bundle, video, "--serve", "127.0.0.1:0", "--deadline-ms", "33")


def test_inspect_says_what_a_bundle_is(tiny_bundle: Path) -> None:
    done = CliRunner().invoke(inspect, [str(tiny_bundle)], catch_exceptions=False)
    assert "uint8 [batch, H, W, 3] RGB, resized to 64x80" in done.output
    assert "scissors" in done.output
    done = CliRunner().invoke(inspect, [str(tiny_bundle), "--json"], catch_exceptions=False)
    assert json.loads(done.output)["classes"][1]["name"] == "grasper"


def test_the_overlay_is_tagged_with_its_colour_matrix(
    tiny_bundle: Path, video: Path, tmp_path: Path, kit: ModuleType
) -> None:
    """Red must stay red: the file says which matrix it was encoded with."""
    invoke(tiny_bundle, video, "--overlay", tmp_path / "o.mp4", "--max-frames", 3, "--quality", 5)
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert int(container.streams.video[0].codec_context.colorspace) == 5
    seen = kit.read_video(tmp_path / "o.mp4")[0][100:110, 60:70].reshape(-1, 3).mean(axis=0)
    assert np.abs(seen - kit.picture(0)[100:110, 60:70].reshape(-1, 3).mean(axis=0)).max() < 6
