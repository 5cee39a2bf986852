"""Every frame that a player shows, in its order, with a clock that never goes back."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numbered_videos import add_silence, add_video, number_in, numbered, remuxed, write

from trocar.contract.media.video.decoder import Damage, VideoDecoder

COUNT = 40
REORDERED = {"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0:scenecut=0"}
SMALL_GROUPS = {"g": "8", "keyint_min": "8"}

# name, arguments of `write`
PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("plain.mp4", {}),
    ("baseline.mp4", {"options": {"bf": "0"}}),
    ("pyramid.mp4", {"options": REORDERED}),
    ("faststart.mp4", {"container": {"movflags": "faststart"}}),
    ("fragmented.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    ("fragmented_groups.mp4", {
        "container": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        "options": SMALL_GROUPS,
    }),
    ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
    ("part2.mp4", {"codec": "mpeg4"}),
    ("full_range.mp4", {"pixels": "yuvj420p"}),
    ("plain.mov", {}),
    ("pyramid.mov", {"options": REORDERED}),
    ("motion_jpeg.mov", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    ("prores.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}),
    ("plain.mkv", {}),
    ("pyramid.mkv", {"options": REORDERED}),
    ("lossless.mkv", {"codec": "ffv1"}),
    ("vp9.mkv", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    ("vp8.webm", {"codec": "libvpx", "options": {"deadline": "realtime"}}),
    ("plain.ts", {}),
    ("pyramid.ts", {"options": REORDERED}),
    ("mpeg2.ts", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    ("plain.avi", {"options": {"bf": "0"}}),
    ("reordered.avi", {}),
    ("pyramid.avi", {"options": REORDERED}),
    ("groups.avi", {"options": {**REORDERED, **SMALL_GROUPS}}),
    ("part2.avi", {"codec": "mpeg4"}),
    ("part2_reordered.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    ("motion_jpeg.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    ("lossless.avi", {"codec": "ffv1"}),
    ("raw.avi", {"codec": "rawvideo"}),
    ("plain.flv", {}),
    ("pyramid.flv", {"options": REORDERED}),
    ("mpeg1.mpg", {"codec": "mpeg1video"}),
    ("mpeg2.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    ("bare.h264", {"form": "h264"}),
    ("bare_pyramid.h264", {"form": "h264", "options": REORDERED}),
    ("bare.m2v", {"form": "mpeg2video", "codec": "mpeg2video", "options": {"bf": "2"}}),
    ("bare.mjpeg", {"form": "mjpeg", "codec": "mjpeg", "pixels": "yuvj420p"}),
]  # fmt: skip


def decoded(path: Path, **options: Any) -> tuple[list[int], list[float], VideoDecoder]:
    with VideoDecoder(str(path), **options) as decoder:
        frames = [(number_in(frame.image), frame.time, frame.index) for frame in decoder.frames()]
    # A frame is numbered as in the recording: frames that are missing are counted.
    indices = [index for _, _, index in frames]
    assert indices[:1] in ([], [0])
    assert all(a < b for a, b in pairwise(indices))
    if not decoder.damage.missing:
        assert indices == list(range(len(frames)))
    return [number for number, _, _ in frames], [time for _, time, _ in frames], decoder


def is_rising(times: list[float]) -> bool:
    return all(a < b for a, b in pairwise(times))


@pytest.mark.parametrize(("name", "arguments"), PLAIN, ids=[name for name, _ in PLAIN])
def test_whole_files_give_every_frame_at_its_time(
    tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    numbers, times, decoder = decoded(write(tmp_path / name, range(COUNT), **dict(arguments)))
    assert numbers == list(range(COUNT))
    np.testing.assert_allclose(times, np.arange(COUNT) / 25, atol=0.002)
    assert decoder.damage == Damage()


def test_hidden_samples_of_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    long = write(tmp_path / "long.mp4", range(COUNT), options={"g": "250", "keyint_min": "250"})
    numbers, times, decoder = decoded(remuxed(long, tmp_path / "cut.mp4", shift_s=-1))
    assert numbers == list(range(25, COUNT))
    np.testing.assert_allclose(times, np.arange(COUNT - 25) / 25, atol=0.002)
    assert not decoder.damage


@pytest.mark.parametrize("suffix", ["mkv", "ts", "flv", "mp4", "mov"])
def test_sound_that_outlasts_the_picture_is_no_damage(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v.{suffix}"
    with av.open(str(path), "w") as out:
        # Both streams have to be there before the first packet is written.
        add_both(out, seconds=6)
    numbers, _, decoder = decoded(path)
    assert numbers == list(range(COUNT))
    assert not decoder.damage


def add_both(out: Any, *, seconds: float) -> None:
    """A numbered video and a longer sound track, interleaved."""
    held: list[Any] = []

    class Held:
        add_stream = out.add_stream

        @staticmethod
        def mux(packets: list[Any]) -> None:
            held.extend(packets)

    add_video(Held, range(COUNT))
    add_silence(Held, seconds)
    for packet in held:
        out.mux(packet)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_clocks_that_begin_at_an_hour_begin_at_zero(tmp_path: Path, suffix: str) -> None:
    plain = write(tmp_path / f"plain.{suffix}", range(COUNT))
    numbers, times, _ = decoded(remuxed(plain, tmp_path / f"hour.{suffix}", shift_s=3600))
    assert numbers == list(range(COUNT))
    np.testing.assert_allclose(times, np.arange(COUNT) / 25, atol=0.002)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_slow_and_uneven_video_keeps_its_times(tmp_path: Path, suffix: str) -> None:
    times = [Fraction(i * i, 10) for i in range(20)]  # Up to 3.9 s between two frames.
    numbers, got, decoder = decoded(write(tmp_path / f"v.{suffix}", range(20), times=times))
    assert numbers == list(range(20))
    np.testing.assert_allclose(got, [float(time) for time in times], atol=0.002)
    assert not decoder.damage


def test_a_gap_in_avi_is_kept(tmp_path: Path) -> None:
    times = [Fraction(i + (10 if i >= 20 else 0), 25) for i in range(COUNT)]
    path = tmp_path / "gap.avi"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuvj420p"
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts, frame.time_base = round(time * 25), Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    numbers, got, decoder = decoded(path)
    assert numbers == list(range(COUNT))
    np.testing.assert_allclose(got, [float(time) for time in times], atol=0.002)
    assert not decoder.damage


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_joined_recordings_go_on(tmp_path: Path, suffix: str) -> None:
    codec = {"ts": "libx264", "mpg": "mpeg2video"}[suffix]
    first = write(tmp_path / f"1.{suffix}", range(COUNT), codec=codec)
    second = write(tmp_path / f"2.{suffix}", range(100, 100 + COUNT), codec=codec)
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    numbers, times, decoder = decoded(joined)
    assert numbers == [*range(COUNT), *range(100, 100 + COUNT)]
    assert is_rising(times)
    np.testing.assert_allclose(times, np.arange(2 * COUNT) / 25, atol=0.1)
    assert any("started again 1 time" in note for note in decoder.notes)


@pytest.mark.parametrize("count", [1, 2, COUNT])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mpg"])
def test_interlaced_video_loses_no_frame(tmp_path: Path, count: int, suffix: str) -> None:
    path = write(tmp_path / f"v.{suffix}", range(count), codec="mpeg2video", interlaced=True)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    numbers, times, _ = decoded(path)
    assert len(numbers) == count
    # Fields of neighbouring frames are mixed where bars move; the first and last are pure.
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    np.testing.assert_allclose(times, np.arange(count) / 25, atol=0.002)


def test_pixels_that_are_not_square_are_told(tmp_path: Path) -> None:
    path = tmp_path / "pal.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.sample_aspect_ratio = Fraction(16, 11)
        for number in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        out.mux(stream.encode())
    _, _, decoder = decoded(path)
    assert decoder.pixel_aspect == Fraction(16, 11)
    assert decoder.notes == [
        "its pixels are not square (16:11, width to height); results count stored pixels, players "
        "show them stretched"
    ]


def test_several_streams_are_told_and_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    held: list[Any] = []
    with av.open(str(path), "w") as out:

        class Held:
            add_stream = out.add_stream
            mux = staticmethod(held.extend)

        add_video(Held, range(COUNT), size=(48, 80))
        add_video(Held, range(200, 200 + COUNT))
        for packet in held:
            out.mux(packet)
    numbers, _, decoder = decoded(path)  # FFmpeg takes the stream that the file marks as default.
    assert numbers == list(range(COUNT))
    assert decoder.notes == ["holds 2 video streams (0: h264 80x48, 1: h264 160x96); took number 0"]
    numbers, _, decoder = decoded(path, stream=1)
    assert numbers == list(range(200, 200 + COUNT))
    assert decoder.notes == []
    with pytest.raises(LookupError, match="contains no video stream number 2, only 0: h264"):
        VideoDecoder(str(path), stream=2)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_video_comes_upright(tmp_path: Path, turn: int) -> None:
    path = write(tmp_path / "v.mp4", range(3), rotation=turn)
    with VideoDecoder(str(path)) as decoder:
        frames = [frame.image for frame in decoder.frames()]
    upright = [np.rot90(frame, -turn // 90) for frame in frames]
    assert [number_in(frame) for frame in upright] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("v.mp4", {"container": {"movflags": "faststart"}}),
        ("v.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}, "options": SMALL_GROUPS}),
        ("v.mkv", {}),
        ("v.avi", {"codec": "mpeg4"}),
        ("v.flv", {}),
        ("v.webm", {"codec": "libvpx", "options": {"deadline": "realtime"}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.55, 0.8, 0.95])
def test_cut_files_are_told_with_the_frames_they_hold(
    tmp_path: Path, name: str, arguments: dict[str, Any], share: float
) -> None:
    path = write(tmp_path / name, range(COUNT), grain=30, **dict(arguments))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    numbers, times, decoder = decoded(path)
    assert decoder.damage.ends_early
    assert 0 < len(numbers) < COUNT
    # The last frames may lack one that they refer to.
    whole = max(0, len(numbers) - 8)
    assert numbers[:whole] == list(range(whole))
    assert numbers == sorted(set(numbers))
    assert is_rising(times)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: write(p / "v.ts", range(100), options={**SMALL_GROUPS, "crf": "4"}),
        lambda p: write(
            p / "v.mp4",
            range(100),
            options={**SMALL_GROUPS, "crf": "4"},
            container={"movflags": "faststart"},
        ),
    ],
)
def test_damage_in_the_middle_is_counted_and_is_no_early_end(
    tmp_path: Path, make: Callable[[Path], Path], rng: np.random.Generator
) -> None:
    path = make(tmp_path)
    data = bytearray(path.read_bytes())
    begin, end = int(len(data) * 0.45), int(len(data) * 0.55)
    data[begin:end] = rng.integers(0, 256, end - begin, np.uint8).tobytes()
    path.write_bytes(data)
    numbers, times, decoder = decoded(path)
    with VideoDecoder(str(path)) as again:
        indices = [frame.index for frame in again.frames()]
    # Right behind the damage a decoder may show an older picture once more.
    assert indices[-30:] == numbers[-30:] == list(range(70, 100))
    assert decoder.damage.packets + decoder.damage.frames + decoder.damage.missing > 0
    assert decoder.damage.ends_early == ""
    assert numbers[-1] == 99
    assert is_rising(times)
    assert len(numbers) + decoder.damage.missing == 100


def test_names_that_look_like_addresses_are_files(tmp_path: Path) -> None:
    for name in ("a:b.mp4", "http:x.mp4", "-dash.mp4", "100%d.mp4", "quote'\"\n.mp4"):
        path = tmp_path / name
        plain = write(tmp_path / "plain.mp4", range(3))
        path.write_bytes(plain.read_bytes())
        assert decoded(path)[0] == [0, 1, 2]


@pytest.mark.parametrize(("height", "matrix"), [(576, "bt601"), (720, "bt709"), (1080, "bt709")])
def test_untagged_video_is_taken_by_its_height(tmp_path: Path, height: int, matrix: str) -> None:
    colour = np.array([180, 70, 60], np.float64)  # Red tissue: the matrices differ most in reds.
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    luma = kr * colour[0] + (1 - kr - kb) * colour[1] + kb * colour[2]
    planes = (
        16 + luma * 219 / 255,
        128 + (colour[2] - luma) / (1 - kb) / 2 * 224 / 255,
        128 + (colour[0] - luma) / (1 - kr) / 2 * 224 / 255,
    )
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv444p"
        data = np.stack([np.full((height, 64), round(v), np.uint8) for v in planes])
        frame = av.VideoFrame.from_ndarray(data, format="yuv444p")
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with VideoDecoder(str(path)) as decoder:
        (frame,) = decoder.frames()
        np.testing.assert_allclose(frame.image[5, 5], colour, atol=2)


def test_the_shape_of_pixels_is_known_after_the_end(tmp_path: Path) -> None:
    """A thread that writes asks for it, maybe after the thread that reads closed the file."""
    decoder = VideoDecoder(str(write(tmp_path / "a.mp4", range(3))))
    before = decoder.pixel_aspect
    decoder.close()
    for _ in range(50):
        assert decoder.pixel_aspect == before == 1
