"""What NV12 in the graph gains in `trocar run`: frames/s and processor time against the RGB path.

python benchmarks/nv12.py                                    # 1080p file, network 512x640
python benchmarks/nv12.py --bundle m.trocar --video f.mp4    # a bundle that takes NV12

Both paths run the same bundle on the same file, in turn, in one process. Labels are compared on
every tenth frame. Without --bundle, an untrained DeepLabV3+ is exported with both forms.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from helpers.live.model import deeplab_bundle
from helpers.live.scenes import surgical_video

from trocar.contract.media.video.decoder import VideoDecoder
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.assemble import make_frame_processor, open_session, workers_for
from trocar.runtime.pipeline.offline import LosslessOptions, run_lossless
from trocar.runtime.pipeline.options import ModelOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.records import JsonLines
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.video import VideoSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: exported here")
    parser.add_argument("--video", type=Path, help="default: a drawn scene, 1080p H.264")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encoder", default="timm-mobilenetv3_small_100")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = given.bundle or deeplab_bundle(work / "m.trocar", encoder=given.encoder, nv12=True)
        video = given.video or surgical_video(work / "film.mp4", frames=given.frames)
        measure(bundle, video, work, given)


def measure(bundle: Path, video: Path, work: Path, given: argparse.Namespace) -> None:
    rates: dict[str, list[float]] = {}
    spent_ms: dict[str, list[float]] = {}
    for round_ in range(given.rounds):
        for overlay in (False, True):
            # The order changes with the round, so that a load that grows favours neither.
            for nv12 in (False, True) if round_ % 2 else (True, False):
                name = f"{'overlay and H.264' if overlay else 'records only'}|{nv12}"
                rate, ms = run(bundle, video, work, nv12=nv12, overlay=overlay, given=given)
                rates.setdefault(name, []).append(rate)
                spent_ms.setdefault(name, []).append(ms)
    for outputs in ("records only", "overlay and H.264"):
        rgb, planes = f"{outputs}|False", f"{outputs}|True"
        ratios = [b / a for a, b in zip(rates[rgb], rates[planes], strict=True)]
        work_ratios = [b / a for a, b in zip(spent_ms[rgb], spent_ms[planes], strict=True)]
        print(
            f"{outputs}: RGB {median(rates[rgb]):.1f}, NV12 {median(rates[planes]):.1f} frames/s, "
            f"ratio {median(ratios):.2f} (rounds: {', '.join(f'{r:.2f}' for r in ratios)}); "
            f"processor time a frame {median(spent_ms[rgb]):.1f} ms, "
            f"{median(spent_ms[planes]):.1f} ms, ratio {median(work_ratios):.2f}"
        )
    equal = equal_labels(bundle, video)
    print(f"equal labels: mean {np.mean(equal):.3%}, least {min(equal):.3%} of {len(equal)} frames")


def run(
    bundle: Path, video: Path, work: Path, *, nv12: bool, overlay: bool, given: argparse.Namespace
) -> tuple[float, float]:
    """Frames a second, and milliseconds of processor time a frame, without the set-up."""
    source = VideoSource(str(video))
    options = ModelOptions(path=bundle)
    with open_session(options, live=False, sources=[source]) as session:
        if not session.takes_nv12:
            raise SystemExit(f"{bundle} takes no NV12: export it with --nv12")
        source.nv12 = nv12
        sinks = [JsonLines(work / "out.jsonl", overwrite=True)]
        if overlay:
            sinks.append(VideoSink(work / "out.mp4", overwrite=True))
        begun = process_time()
        summary = run_lossless(
            make_frame_processor(session, options, live=False),
            source,
            sinks=sinks,
            painter=Painter(session.classes),
            options=LosslessOptions(workers=workers_for(session, None), max_frames=given.frames),
        )
        frames = summary.counts.processed
        return frames / summary.seconds, (process_time() - begun) / frames * 1000


def equal_labels(bundle: Path, video: Path) -> list[float]:
    """Share of labels that both paths give alike, of every tenth frame."""
    equal = []
    with Session.open(bundle, threads=1) as session, VideoDecoder(str(video)) as decoder:
        for frame in decoder.frames():
            if frame.index % 10 == 0 and frame.nv12 is not None:
                rgb = session.infer(frame.image[None])["labels"]
                planes = session.infer([frame.nv12])["labels"]
                equal.append(float((rgb == planes).mean()))
    return equal


if __name__ == "__main__":
    main()
