"""What `trocar run` costs over the bare model: frames/s of each, in one run, interleaved.

python benchmarks/run_overhead.py            # 1080p file, network 512x640, two cores

Bare = `onnxruntime.InferenceSession.run` on the same frames, decoded beforehand and held in memory.
Serial = decode, infer, draw, encode one after the other, with the same drawing and encoder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import onnxruntime
from helpers.live.model import deeplab_bundle
from helpers.live.scenes import read_all, surgical_video

from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.assemble import workers_for
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.offline import LosslessOptions, run_lossless
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.records import JsonLines
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.base import Frame
from trocar.runtime.sources.open import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", default="timm-mobilenetv3_small_100")
    parser.add_argument("--work", type=Path, help="keep model and video here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given.work or Path(folder), given)


def measure(work: Path, given: argparse.Namespace) -> None:
    work.mkdir(parents=True, exist_ok=True)
    model = deeplab_bundle(work / f"{given.encoder}.trocar", encoder=given.encoder)
    video = surgical_video(work / f"{given.frames}.mp4", frames=given.frames)
    rates: dict[str, list[float]] = {}
    work_ms: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, timed in (
            ("bare InferenceSession.run", bare),
            ("trocar run, records only", records_only),
            ("trocar run, overlay and H.264", with_overlay),
            ("serial loop, overlay and H.264", serial),
        ):
            seconds, processor_seconds = timed(model, video, work)
            rates.setdefault(name, []).append(given.frames / seconds)
            work_ms.setdefault(name, []).append(processor_seconds * 1000 / given.frames)
    base = rates["bare InferenceSession.run"]
    print(f"{given.encoder}, 512x640, {video.name} 1920x1080, ratios of the same round, median")
    for name, values in rates.items():
        ratios = [value / bare_rate for value, bare_rate in zip(values, base, strict=True)]
        print(
            f"{name:34s} {median(values):6.1f} frames/s   {median(ratios):5.2f}"
            f"   (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; "
            f"{median(work_ms[name]):.0f} ms of processor time a frame)"
        )


Times = tuple[float, float]
"""Seconds by the clock, and of processor time."""


def bare(model: Path, video: Path, work: Path) -> Times:
    session = onnxruntime.InferenceSession(
        str(model / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    # As many as fit comfortably in memory, used over and over: the work is the same.
    held: list[np.ndarray] = []
    for image in read_all(video):
        held.append(image[None])
        if len(held) == 30:
            break
    count = sum(1 for _ in open_source(video).frames())
    name = session.get_inputs()[0].name
    session.run(None, {name: held[0]})
    started, worked = perf_counter(), process_time()
    for index in range(count):
        session.run(None, {name: held[index % len(held)]})
    return perf_counter() - started, process_time() - worked


def records_only(model: Path, video: Path, work: Path) -> Times:
    return _run(model, video, work, overlay=False)


def with_overlay(model: Path, video: Path, work: Path) -> Times:
    return _run(model, video, work, overlay=True)


def _run(model: Path, video: Path, work: Path, *, overlay: bool) -> Times:
    with Session.open(model, spinning=False, threads=1) as session:
        sinks = [JsonLines(work / "out.jsonl", overwrite=True)]
        if overlay:
            sinks.append(VideoSink(work / "out.mp4", overwrite=True))
        summary = run_lossless(
            FrameProcessor(session),
            open_source(video),
            sinks=sinks,
            painter=Painter(session.classes),
            options=LosslessOptions(workers=workers_for(session, None)),
        )
    assert summary.processor_seconds is not None
    return summary.seconds, summary.processor_seconds


def serial(model: Path, video: Path, work: Path) -> Times:
    with Session.open(model) as session:
        painter = Painter(session.classes)
        sink = VideoSink(work / "serial.mp4", overwrite=True)
        started, worked = perf_counter(), process_time()
        for index, image in enumerate(read_all(video)):
            frame = Frame(image=image, index=index, time=index / 30, captured_ns=0)
            event = FrameEvent(frame=frame, result=session.run(image), painter=painter)
            if index == 0:
                sink.open(StreamInfo(name="serial", size=image.shape[:2], fps=30.0))
            sink.write(event)
        sink.close()
        taken = perf_counter() - started, process_time() - worked
        sink.commit()
    return taken


if __name__ == "__main__":
    main()
