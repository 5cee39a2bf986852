"""The GStreamer element gives what `trocar run` gives, and says in words what does not fit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from nv12_bundles import make_nv12_bundle
from places import ROOT
from tiny_bundle import make_tiny_bundle
from videos import picture, write_video

from trocar.cli import main
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.session import Session

FRAMES = 20
HEIGHT, WIDTH = 120, 160
# Colours of caps, in the order of trocar_yuv.
COLOURS = ("bt709", "bt601", "1:3:5:1", "1:4:16:4", "bt2020", "1:6:13:7")
DIGITS = {"score": 4, "axis": 4}


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a pipeline did: its results, what it said, and how often its end saw what."""

    code: int
    results: list[dict[str, Any]]
    said: str
    messages: int
    metas: int
    frames: int


class Player:
    """Runs pipelines with `gst_results` and the plug-in of the build folder."""

    def __init__(self, build: Path, environment: dict[str, str], registry: Path) -> None:
        self._program = build / "gstreamer" / "gst_results"
        self._environment = {
            **environment,
            "GST_PLUGIN_PATH": str(build / "gstreamer"),
            "GST_REGISTRY": str(registry),
        }

    def has(self, *elements: str) -> bool:
        """Whether these elements are installed."""
        return all(
            subprocess.run(
                ["gst-inspect-1.0", "--exists", name], env=self._environment, check=False
            ).returncode
            == 0
            for name in elements
        )

    def play(self, pipeline: str) -> Played:
        done = subprocess.run(
            [self._program, pipeline],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        counts = re.search(r"(\d+) messages, (\d+) metas, (\d+) frames\n", done.stderr)
        messages, metas, frames = map(int, counts.groups()) if counts else (0, 0, 0)
        return Played(
            code=done.returncode,
            results=[json.loads(line) for line in done.stdout.splitlines()],
            said=done.stderr,
            messages=messages,
            metas=metas,
            frames=frames,
        )


@pytest.fixture(scope="module")
def player(
    build: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Player:
    if not list((build / "gstreamer").glob("libgsttrocar.so")):
        pytest.skip("the build has no GStreamer element: libgstreamer1.0-dev is not installed")
    if shutil.which("gst-inspect-1.0") is None:
        pytest.skip("no gst-inspect-1.0 here: gstreamer1.0-tools is not installed")
    player = Player(build, environment, tmp_path_factory.mktemp("gst") / "registry.bin")
    if not player.has("videotestsrc", "videoconvert", "rawvideoparse"):
        pytest.skip("no elements for video here: gstreamer1.0-plugins-base is not installed")
    return player


def infer(bundle: Path, more: str = "") -> str:
    return f"trocarinfer bundle={bundle} threads=1 {more}"


def rounded(value: Any, name: str = "") -> Any:
    """A result with the digits of a line of `trocar run --json`."""
    if isinstance(value, dict):
        return {key: rounded(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one, name) for one in value]
    return round(value, DIGITS.get(name, 2)) if isinstance(value, float) else value


def test_instruments_are_those_of_trocar_run(
    player: Player, tiny_bundle: Path, tmp_path: Path
) -> None:
    if not player.has("avidemux", "pngdec", "decodebin"):
        pytest.skip("no avidemux or pngdec here: gstreamer1.0-plugins-good is not installed")
    film, lines = tmp_path / "clip.avi", tmp_path / "lines.jsonl"
    write_video(film, frames=FRAMES, codec="png", pix_fmt="rgb24", options={})
    run = ["run", str(tiny_bundle), str(film), "--json", str(lines), "--no-postprocess"]
    main(run)
    expected = [json.loads(line) for line in lines.read_text().splitlines()]
    played = player.play(
        f"filesrc location={film} ! decodebin ! videoconvert ! video/x-raw,format=RGB ! "
        f"{infer(tiny_bundle)} ! fakesink name=end"
    )
    assert played.code == 0, played.said
    assert (played.messages, played.metas, played.frames) == (FRAMES, FRAMES, FRAMES)
    assert len(expected) == FRAMES
    for line, result in zip(expected, played.results, strict=True):
        assert line["frame"] == result["frame"]
        assert line["time"] == round(result["time"], 6)
        assert line["size"] == result["size"]
        assert line["instruments"] == rounded(result["instruments"])
        assert line["instruments"]


@pytest.fixture(scope="module")
def luma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three NV12 frames; their colours depend on the matrix."""
    file = tmp_path_factory.mktemp("nv12") / "frames.nv12"
    rng = np.random.default_rng(4)
    with file.open("wb") as out:
        for index in range(3):
            scene = picture(index, HEIGHT, WIDTH).astype(np.int16)
            y = np.clip(scene[..., 1] + scene[..., 2], 16, 235)
            uv = np.empty((HEIGHT // 2, WIDTH), np.int16)
            uv[:, ::2] = 128 + (scene[::2, ::2, 2] - scene[::2, ::2, 0]) // 2
            uv[:, 1::2] = 128 + (scene[::2, ::2, 0] - scene[::2, ::2, 1]) // 3
            uv += rng.integers(-3, 4, uv.shape, np.int16)
            out.write(np.concatenate([y, np.clip(uv, 0, 255)]).astype(np.uint8).tobytes())
    return file


def raw(file: Path, colours: str) -> str:
    return (
        f"filesrc location={file} ! rawvideoparse format=nv12 width={WIDTH} height={HEIGHT} ! "
        f"capssetter caps=video/x-raw,colorimetry={colours}"
    )


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a graph for NV12."""
    return make_nv12_bundle(tmp_path_factory.mktemp("planes") / "planes.trocar")


def test_nv12_of_odd_size_plays(player: Player, planes: Path) -> None:
    source = "videotestsrc num-buffers=2 ! video/x-raw,format=NV12,width=161,height=121"
    played = player.play(f"{source} ! {infer(planes)} ! fakesink name=end")
    assert played.code == 0, played.said
    assert played.messages == 2


@pytest.mark.parametrize("takes_nv12", [False, True])
def test_nv12_has_the_colours_of_its_caps_and_passes_unchanged(
    player: Player, cpp: ModuleType, library: str, tiny_bundle: Path, planes: Path,
    onnxruntime_library: str, luma: Path, tmp_path: Path, takes_nv12: bool,
) -> None:  # fmt: skip
    tiny_bundle = planes if takes_nv12 else tiny_bundle
    if not player.has("capssetter"):
        pytest.skip("no capssetter here: gstreamer1.0-plugins-good is not installed")
    native = cpp.Session(library, str(tiny_bundle), library=onnxruntime_library, threads=1)
    frames = np.frombuffer(luma.read_bytes(), np.uint8).reshape(3, HEIGHT * 3 // 2, WIDTH)
    seen = set()
    for yuv, colours in enumerate(COLOURS):
        passed = tmp_path / "passed"
        played = player.play(
            f"{raw(luma, colours)} ! {infer(tiny_bundle)} ! filesink location={passed} name=end"
        )
        assert played.code == 0, played.said
        assert passed.read_bytes() == luma.read_bytes()
        expected = [
            [one.score for one in native.run(frame, form="nv12", yuv=yuv)[0]["instruments"]]
            for frame in frames
        ]
        assert [[one["score"] for one in r["instruments"]] for r in played.results] == expected
        seen.add(str(expected))
    assert len(seen) == len(COLOURS), "the frames do not tell the matrices apart"


def test_location_and_view_reach_the_library(
    player: Player, tiny_bundle: Path, tmp_path: Path
) -> None:
    file, scene = tmp_path / "frame.rgb", picture(0, HEIGHT, WIDTH)
    file.write_bytes(scene.tobytes())
    source = (
        f"filesrc location={file} ! "
        f"rawvideoparse format=rgb width={WIDTH} height={HEIGHT} ! {infer(tiny_bundle)}"
    )
    with Session.open(tiny_bundle, threads=1) as session:
        found = session.run(scene, view=FieldOfView(x=80.0, y=60.0, radius=50.0)).instruments
    (result,) = player.play(f"{source} view=80,60,50 ! fakesink").results
    assert rounded(result["instruments"]) == [one.to_dict() for one in found]
    (plain,) = player.play(f"{source} ! fakesink").results
    assert plain["instruments"] != result["instruments"]
    (none,) = player.play(source + r' location="{\"min_area\":0.9}" ! fakesink').results
    assert none["instruments"] == []


def test_late_frames_pass_without_inference(player: Player, tmp_path: Path) -> None:
    slow = make_tiny_bundle(tmp_path / "slow.trocar", delay=20)
    source = "videotestsrc num-buffers=60 ! video/x-raw,format=RGB,framerate=2000/1"
    end = "fakesink name=end sync=true qos=true"
    late = player.play(f"{source} ! {infer(slow, 'drop=late')} ! {end}")
    assert late.frames == 60
    assert 0 < late.messages == late.metas < 60
    every = player.play(f"{source} ! {infer(slow, 'post-messages=false')} ! {end}")
    assert (every.messages, every.metas, every.frames) == (0, 60, 60)


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        ("format=NV12,colorimetry=smpte240m", ["smpte240m", "BT.601, BT.709", "capssetter"]),
        ("format=I420", ["can't handle caps", "I420"]),
    ],
)
def test_caps_that_do_not_fit_are_refused_in_words(
    player: Player, tiny_bundle: Path, caps: str, words: list[str]
) -> None:
    played = player.play(
        f"videotestsrc num-buffers=2 ! video/x-raw,{caps} ! {infer(tiny_bundle)} ! fakesink"
    )
    assert played.code in (1, 2)
    assert all(word in played.said for word in words), played.said


def test_a_format_that_comes_later_is_refused_in_words(
    player: Player, tiny_bundle: Path, tmp_path: Path
) -> None:
    if not player.has("avidemux", "jpegdec"):
        pytest.skip("no avidemux or jpegdec here: gstreamer1.0-plugins-good is not installed")
    film = tmp_path / "clip.avi"
    write_video(film, frames=2, codec="mjpeg", pix_fmt="yuvj420p", options={})
    source = f"filesrc location={film} ! avidemux ! jpegdec"
    played = player.play(f"{source} ! {infer(tiny_bundle)} ! fakesink")
    assert played.code == 1
    assert "the frames are I420, expected one of" in played.said
    assert "put videoconvert before trocarinfer" in played.said
    mended = player.play(f"{source} ! videoconvert ! {infer(tiny_bundle)} ! fakesink")
    assert (mended.code, mended.messages) == (0, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", ["the property bundle is empty", "trocarinfer bundle=model.trocar"]),
        ("bundle=/dev/null", ["/dev/null", "; "]),
        ("bundle={tiny} view=80,60", ['view is "80,60"', "x,y,radius"]),
        ("bundle={tiny} device=gpu", ["gpu", "cuda"]),
        ("bundle={tiny} trust=/dev/null", ["/dev/null", "key"]),
        ("bundle={tiny} location=[]", ["location", "; "]),
    ],
)
def test_wrong_settings_say_what_to_do(
    player: Player, tiny_bundle: Path, settings: str, words: list[str]
) -> None:
    given = settings.format(tiny=tiny_bundle)
    played = player.play(f"videotestsrc num-buffers=2 ! trocarinfer {given} ! fakesink")
    assert played.code == 1
    assert played.messages == 0
    assert all(word in played.said for word in words), played.said


def test_a_wrong_bundle_has_the_words_of_the_library(
    player: Player, cpp: ModuleType, library: str, tmp_path: Path
) -> None:
    with pytest.raises(cpp.TrocarFailure) as failure:
        cpp.Session(library, str(tmp_path))
    played = player.play(f"videotestsrc num-buffers=2 ! {infer(tmp_path)} ! fakesink")
    message = str(failure.value).splitlines()[0]
    assert f"{message}; " in played.said
    assert "trocar export" in played.said


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here")
@pytest.mark.parametrize("choice", ["ON", "AUTO"])
def test_a_machine_without_gstreamer(choice: str, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.25)\nproject(p NONE)\nset(TROCAR_GSTREAMER {choice})\n"
        f"add_subdirectory({ROOT / 'runtime/cpp/gstreamer'} element)\n"
    )
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build"],
        env={**os.environ, "PKG_CONFIG_LIBDIR": str(tmp_path), "PKG_CONFIG_PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if choice == "AUTO":
        assert done.returncode == 0, done.stderr
        assert "GStreamer element: left out" in done.stdout
    else:
        assert done.returncode != 0
        said = " ".join(done.stderr.split())
        assert "install libgstreamer1.0-dev" in said
        assert "TROCAR_GSTREAMER=OFF" in said
