"""`trocar evaluate` and `trocar report` on a bundle whose answers are known."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.evaluation.frames import open_evaluation_frames

SIZE = (64, 80)


@pytest.fixture(scope="module")
def data(tiny: ModuleType, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames whose masks are what the bundle says, but for a box of errors in the second."""
    from trocar.runtime import Session

    root = tmp_path_factory.mktemp("data")
    for kind in ("images", "masks", "video_masks"):
        (root / kind).mkdir()
    session = Session.open(bundle)
    with av.open(str(root / "video.mp4"), "w") as video:
        stream = video.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for i in range(4):
            frame = tiny.tiny_frame(*SIZE, shift=5 * i)
            mask = session.run(frame).labels.copy()
            if i == 1:
                mask[:10, :10] = 1
            cv2.imwrite(str(root / "images" / f"{i}.png"), frame[..., ::-1])
            cv2.imwrite(str(root / "masks" / f"{i}.png"), mask)
            cv2.imwrite(str(root / "video_masks" / f"{i}.png"), mask)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)
    tiny.tiny_table().write(root / "classes.toml")
    return root


def test_scores_pictures_and_report(run, bundle, data, tmp_path, capsys) -> None:
    out = tmp_path / "evaluation"
    assert run("evaluate", bundle, data, "--out", out) == 0
    shown = capsys.readouterr().out
    found = json.loads((out / "evaluation.json").read_text())
    wrong = [f["name"] for f in found["frames"] if f["iou_mean"] < 1]
    assert wrong == ["1"]
    assert found["pictures"]["worst"] == ["worst_1.jpg"]
    matrix = np.array(found["confusion"])
    assert matrix.sum() == 4 * SIZE[0] * SIZE[1]
    # Only the planted box differs: true grasper, predicted background.
    assert matrix.sum() - np.trace(matrix) == matrix[1, 0] > 0
    assert f"{found['scores']['iou_binary']:.4f}" in shown
    for name in ("nsd@2px_binary", "region_f1", "pq", "presence_map"):
        assert f"{found['scores'][name]:.4f}" in shown
    picture = cv2.imread(str(out / "worst_1.jpg"))
    assert picture.shape[1] > 3 * 400

    page = tmp_path / "report.html"
    assert (
        run("report", "--evaluation", out, "--bundle", bundle, "--data", data, "--out", page) == 0
    )
    text = page.read_text(encoding="utf-8")
    assert "confusion" in text
    assert "worst frame 1" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert run("report", "--evaluation", out, "--out", page) == 11


def test_true_instances_are_scored_where_the_set_has_them(
    run, bundle, data, tmp_path, capsys
) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    (root / "instances").mkdir()
    for file in (root / "masks").iterdir():
        mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        halves = 1 + (np.indices(mask.shape)[1] >= np.flatnonzero(mask.any(0)).mean())
        cv2.imwrite(str(root / "instances" / file.name), np.where(mask > 0, halves, 0))
    assert run("evaluate", bundle, data, "--out", tmp_path / "plain") == 0
    assert run("evaluate", bundle, root, "--out", tmp_path / "told") == 0
    plain, told = (
        json.loads((tmp_path / name / "evaluation.json").read_text())["scores"]
        for name in ("plain", "told")
    )
    assert {name: told[name] for name in plain} == plain
    assert set(told) - set(plain) == {
        f"instance_{name}" for name in ("precision", "recall", "f1", "dice", "pq")
    }
    assert told["instance_recall"] < told["region_recall"]  # an instrument cut in two
    assert "instance_f1" in capsys.readouterr().out


def test_a_model_against_itself_shows_no_difference(run, bundle, data, tmp_path, capsys) -> None:
    out = tmp_path / "e"
    assert run("evaluate", bundle, data, "--against", bundle, "--out", out) == 0
    assert "no difference shown" in capsys.readouterr().out.replace("\n", " ")
    found = json.loads((out / "evaluation.json").read_text())["against"]
    assert found["scores"]["frame_iou_mean"]["verdict"] == "no difference shown"
    page = tmp_path / "report.html"
    assert run("report", "--evaluation", out, "--out", page) == 0
    assert "no difference shown" in page.read_text(encoding="utf-8")


def test_a_fold_scores_its_videos(run, bundle, data, tmp_path, capsys) -> None:
    # A set with folds of its own: UW-Sinus leaves one video out at a time.
    root = tmp_path / "sinus"
    for kind, source in (("images", "images"), ("labels", "masks")):
        (root / "live" / kind).mkdir(parents=True)
        for i in range(4):
            image = cv2.imread(str(data / source / f"{i}.png"), cv2.IMREAD_UNCHANGED)
            image = image if kind == "images" else (image > 0).astype(np.uint8)
            cv2.imwrite(str(root / "live" / kind / f"L{i // 2:02d}_{i:04d}.png"), image)
    assert run("evaluate", bundle, root, "--fold", 1, "--split", "val") == 2
    assert "leave one of them out" in capsys.readouterr().err
    assert run("evaluate", bundle, root, "--fold", 5) == 3
    assert "2 folds, got fold 5" in capsys.readouterr().err
    table = ClassTable.from_names(["background", "instrument"])
    held = open_evaluation_frames(root, table, fold=1)
    assert [frame.group for frame in held] == ["live/L01", "live/L01"]
    assert held.split == "fold 1"


def test_evaluations_stand_side_by_side(run, bundle, data, tmp_path) -> None:
    for name in ("a", "b"):
        assert run("evaluate", bundle, data, "--out", tmp_path / name) == 0
    page = tmp_path / "report.html"
    assert run(
        "report", "--evaluation", tmp_path / "a", "--evaluation", tmp_path / "b", "--out", page
    ) == 0  # fmt: skip
    text = page.read_text(encoding="utf-8")
    section = text[text.index("side by side</h2>") :]
    row = re.search(r"<td>iou_mean</td>(.*?)</tr>", section, re.DOTALL)
    found = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    assert row is not None
    assert row.group(1).count(f"{found['scores']['iou_mean']:.4f}") == 3


def test_a_video_is_scored_frame_by_frame(run, bundle, data, tmp_path, capsys) -> None:
    out = tmp_path / "e"
    assert run("evaluate", bundle, data, "--video", "--against", bundle, "--out", out) == 0
    shown = capsys.readouterr().out
    found = json.loads((out / "evaluation.json").read_text())
    tracking = found["tracking"]
    assert tracking["truth"] == "classes"
    assert f"{tracking['HOTA']:.4f}" in shown
    assert 0.3 < tracking["HOTA"] <= 0.75  # the first of four frames has no track ids yet
    assert tracking["videos"]["video"]["true"] == tracking["true"] == 8
    assert found["against"]["tracking"] == tracking
    assert run("report", "--evaluation", out, "--out", tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Instruments over time" in page
    assert f'<td class="n">{tracking["switches"]}</td>' in page
    assert len(found["frames"]) == 4
    # H.264 smears borders; the colours survive.
    assert found["scores"]["iou_binary"] > 0.7


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda b, d, t: ("evaluate", t / "none", d), 7, "there is no"),
        (lambda b, d, t: ("evaluate", d, d), 7, "neither best.ckpt nor last.ckpt"),
        (lambda b, d, t: ("evaluate", b, t / "none"), 3, "there is no"),
        (lambda b, d, t: ("evaluate", b, d, "--split", "test"), 3, "no split 'test'"),
        (lambda b, d, t: ("evaluate", b, d / "images", "--video"), 3, "holds no video.mp4"),
        (lambda b, d, t: ("evaluate", b, d, "--video", "--split", "val"), 2, "is in no split"),
        (lambda b, d, t: ("report", d, "--out", t / "r.html"), 3, "is no run folder"),
        (lambda b, d, t: ("report", "--out", t / "r.html"), 2, "nothing to report"),
    ],
)
def test_bad_input_is_said(run, make, code, words, bundle, data, tmp_path, capsys) -> None:
    assert run(*make(bundle, data, tmp_path)) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_classes_that_the_model_does_not_know_are_named(
    run, bundle, data, tmp_path, capsys
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    text = (copy / "classes.toml").read_text().replace('"scissors"', '"stapler"')
    (copy / "classes.toml").write_text(text)
    assert run("evaluate", bundle, copy) == 3
    assert "stapler" in capsys.readouterr().err


def test_a_classifiers_evaluation_is_reported(run, tmp_path) -> None:
    folder = tmp_path / "classes"
    folder.mkdir()
    document = {
        "task": "classification",
        "model": {"name": "tools", "backend": "torch", "precision": "fp32", "device": "cpu"},
        "data": {"path": "photos", "split": "test", "photos": 4},
        "classes": [{"name": "forceps"}, {"name": "scissors"}],
        "scores": {"accuracy": 0.75, "macro_f1": 0.7333, "recall_forceps": 0.5,
                   "recall_scissors": 1.0},
        "per_class": [{"class": "forceps", "photos": 2, "recall": 0.5, "shots": None},
                      {"class": "scissors", "photos": 2, "recall": 1.0, "shots": 7}],
        "confusion": [[1, 1], [0, 2]],
        "intervals": {"accuracy": [0.25, 1.0]},
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(document))
    page = tmp_path / "report.html"
    assert run("report", "--evaluation", folder, "--out", page) == 0
    text = page.read_text(encoding="utf-8")
    for words in ("0.7500", "0.2500 … 1.0000", "recall per class", "4 photographs", "<td>scissors"):
        assert words in text


@pytest.mark.slow
def test_the_report_opens_offline_in_a_browser(run, bundle, data, tmp_path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium")
    page = tmp_path / "report.html"
    assert run("report", "--bundle", bundle, "--data", data, "--out", page) == 0
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "<h2>Data set" in done.stdout


@pytest.fixture(scope="module")
def tissue(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of tissue alone; a blue box lies in frames 2, 3 and 5."""
    root = tmp_path_factory.mktemp("tissue")
    for i in range(6):
        frame = np.full((*SIZE, 3), (150, 50, 45), np.uint8)
        if i in (2, 3, 5):
            frame[20:36, 30:50] = (60, 70, 210)
        cv2.imwrite(str(root / f"{i}.png"), frame[..., ::-1])
    return root


def test_false_alarms_are_counted_where_there_is_no_instrument(
    run, bundle, data, tissue, tmp_path, capsys
) -> None:
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as video:
        stream = video.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        plain = np.full((*SIZE, 3), (150, 50, 45), np.uint8)
        for _ in range(5):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(plain, format="rgb24")))
        video.mux(stream.encode())
    out = tmp_path / "e"
    assert run("evaluate", bundle, data, "--negative", tissue, "--negative", film,
               "--against", bundle, "--out", out) == 0  # fmt: skip
    found = json.loads((out / "evaluation.json").read_text())
    alarms, silent = found["negative"]
    assert found["against"]["negative"] == found["negative"]
    assert (alarms["frames"], alarms["seconds"], alarms["alarms"]) == (6, 0.24, 2)
    assert alarms["alarms_per_minute"] == pytest.approx(2 / 0.24 * 60, abs=0.01)
    assert alarms["frames_with_alarms"] == alarms["instruments_per_frame"] == 0.5
    share = 100 * 16 * 20 / (64 * 80)
    assert alarms["largest_percent"] == pytest.approx(share, rel=0.15)
    assert alarms["area_percent"] == pytest.approx(share / 2, rel=0.15)
    assert alarms["pixels_percent"] == pytest.approx(share / 2, rel=0.15)
    assert (silent["frames"], silent["seconds"], silent["alarms"]) == (5, 0.5, 0)
    assert silent["alarms_per_minute"] == silent["area_percent"] == 0
    shown = capsys.readouterr().out
    assert "500.0" in shown
    assert "50.0 %" in shown
    assert found["pictures"]["negative"] == ["negative_1.jpg"]
    assert found["pictured"]["negative_1.jpg"] == f"{tissue}, frame 2"
    page = tmp_path / "report.html"
    assert run("report", "--evaluation", out, "--out", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "Negative control" in text
    assert f"largest false area, {tissue}, frame 2" in text


def test_a_labelled_set_without_instruments_is_a_negative_control(
    run, bundle, tiny, tissue, data, tmp_path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(tissue, root / "images")
    (root / "masks").mkdir()
    for file in (root / "images").iterdir():
        cv2.imwrite(str(root / "masks" / file.name), np.zeros(SIZE, np.uint8))
    tiny.tiny_table().write(root / "classes.toml")
    out = tmp_path / "e"
    assert run("evaluate", bundle, data, "--negative", root, "--out", out) == 0
    assert json.loads((out / "evaluation.json").read_text())["negative"][0]["alarms"] == 2


def test_pictures_that_are_no_negative_control_are_refused(
    run, bundle, data, tmp_path, capsys
) -> None:
    out = tmp_path / "e"
    for negative, code, words in (
        (data, 3, r"frame 0 has \d+ pixels labelled as an instrument"),
        (tmp_path / "none.mp4", 13, "does not exist"),
        ("/dev/video0", 2, "is a camera or a stream"),
    ):
        assert run("evaluate", bundle, data, "--negative", negative, "--out", out) == code
        error = capsys.readouterr().err.replace("\n", " ")
        assert re.search(words, error), error
        assert "no instrument can be seen" in error
        assert not out.exists()
