"""Recordings as they are: damage, wrong clocks, pixels that are not square, names with colons."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from numbered_videos import numbered, write
from prometheus_client.parser import text_string_to_metric_families

from trocar.cli import main
from trocar.contract.errors import DamagedInputError, SinkError
from trocar.contract.media.video.damage import Damage

PYRAMID = {"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0:scenecut=0"}


def run(model: Path, source: Path, *options: object) -> None:
    main(["run", str(model), str(source), "--threads", "1", *map(str, options)])


def test_damage_is_counted_in_table_json_and_prometheus(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rng: np.random.Generator
) -> None:
    video = write(tmp_path / "v.ts", range(100), grain=30, options={"g": "8", "keyint_min": "8"})
    data = bytearray(video.read_bytes())
    begin, end = int(len(data) * 0.45), int(len(data) * 0.55)
    data[begin:end] = rng.integers(0, 256, end - begin, np.uint8).tobytes()
    video.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        run(tiny_bundle, video, "--json", tmp_path / "o.jsonl", "--metrics", tmp_path / "m.json")
    assert ended.value.code == DamagedInputError.code == 17
    told = capsys.readouterr().err
    assert "pass --allow-damaged" in told
    (metrics,) = json.loads((tmp_path / "m.json").read_text())
    rows = (tmp_path / "o.jsonl").read_text().splitlines()
    damage = Damage(
        packets=metrics["damaged_packets"],
        frames=metrics["damaged_frames"],
        missing=metrics["missing_frames"],
    )
    assert damage
    assert damage.missing == 100 - len(rows) > 0
    # Numbers of frames do not shift: the last one is the recording's.
    assert json.loads(rows[-1])["frame"] == 99
    assert f"damaged: {video}: {damage.text}" in told.replace("\n", "")
    run(tiny_bundle, video, "--metrics", tmp_path / "m.prom", "--allow-damaged")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families((tmp_path / "m.prom").read_text())
        for sample in family.samples
    }
    names = ("packets_damaged_total", "frames_damaged_total", "frames_missing_total")
    got = [next(v for n, v in samples.items() if n.endswith(name)) for name in names]
    assert got == [damage.packets, damage.frames, damage.missing]


def test_whole_files_say_nothing_of_damage(
    tiny_bundle: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_bundle, video, "--metrics", tmp_path / "m.json")
    assert "damaged" not in capsys.readouterr().err
    (metrics,) = json.loads((tmp_path / "m.json").read_text())
    keys = ("damaged_packets", "damaged_frames", "missing_frames", "ends_early", "notes")
    assert [metrics[key] for key in keys] == [0, 0, 0, "", []]


def test_one_instrument_stays_one_track_in_avi_with_b_frames(
    tiny_bundle: Path,
    kit: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = kit.write_video(tmp_path / "v.avi", frames=40, options={**PYRAMID, "crf": "18"})
    with av.open(str(video)) as container:
        stamps = [frame.time for frame in container.decode(video=0)]
    assert stamps != sorted(stamps)
    run(tiny_bundle, video, "--json", tmp_path / "o.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([row["time"] for row in rows], np.arange(40) / 25, atol=0.002)
    settled = [{one["track_id"] for one in row["instruments"]} for row in rows[10:]]
    assert settled[0]
    assert all(tracks == settled[0] for tracks in settled)
    assert "time stamps went back and were replaced" in capsys.readouterr().err


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(64, 45)), (90, Fraction(45, 64))])
def test_the_overlay_keeps_the_shape_of_pixels(
    tiny_bundle: Path, tmp_path: Path, rotation: int, expected: Fraction
) -> None:
    video = tmp_path / "pal.mp4"
    with av.open(str(video), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuv420p"
        stream.sample_aspect_ratio = Fraction(64, 45)
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(numbered(index), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    run(tiny_bundle, video, "--overlay", tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


@pytest.mark.parametrize("name", ["live:1.mp4", "100%d.mp4", 'it\'s "so".mp4'])
@pytest.mark.parametrize("live", [False, True])
def test_outputs_may_have_names_that_look_like_addresses(
    tiny_bundle: Path, video: Path, tmp_path: Path, name: str, live: bool
) -> None:
    options = ("--live", "--seconds", "1") if live else ("--max-frames", "5")
    run(tiny_bundle, video, "--overlay", tmp_path / name, *options)
    with av.open(f"file:{tmp_path / name}") as container:
        assert next(container.decode(video=0)).width == 160
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_live_recording_that_cannot_be_made_is_an_error(
    tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(tiny_bundle, video, "--live", "--overlay", tmp_path / "o.webm", "--seconds", "2")
    assert stopped.value.code == SinkError.code
