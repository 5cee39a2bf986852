"""What is told of the age of a picture when the decoder runs at half speed, and what is true.

python benchmarks/slow_decoder.py --seconds 26

A sender in another process prints the true time of capture into every picture.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from helpers.live.bar_code import read_stamp
from helpers.live.faults import Sender
from soak import make_model

from trocar.contract.media.video.decoder import VideoDecoder
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback
from trocar.runtime.sources.base import SourceOptions
from trocar.runtime.sources.open import open_source

FPS = 25
WARM_UP_S = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=26.0)
    parser.add_argument("--slowness", type=float, default=2.0, help="times a frame's duration")
    parser.add_argument("--model", type=Path, help="a bundle; default: a small one is made")
    given = parser.parse_args()
    decode = VideoDecoder._decode
    slow_from = float("inf")

    def slow_decode(decoder: VideoDecoder, *args: Any) -> Any:
        if time.monotonic() > slow_from:
            time.sleep(given.slowness / FPS)
        return decode(decoder, *args)

    VideoDecoder._decode = slow_decode  # type: ignore[method-assign]
    seen: list[tuple[float, float, float, str]] = []

    def look(event: FrameEvent) -> None:
        now = time.monotonic()
        stamp = read_stamp(event.frame.image)
        if stamp is not None:
            told = now * 1000 - event.frame.captured_ns / 1e6
            seen.append((now, now * 1000 - stamp, told, event.status.partition(" ")[0]))

    with tempfile.TemporaryDirectory() as folder:
        model = given.model or make_model(Path(folder))
        sender = Sender(FPS)
        with Session.open(model, threads=1, spinning=False) as session:
            source = open_source(f"udp://127.0.0.1:{sender.port}", SourceOptions())
            stream = LiveStream(
                source, FrameProcessor(session), painter=Painter(session.classes),
                sinks=[Callback(look)],
            )  # fmt: skip
            run = LiveRun(session, [stream])
            run.start()
            run.wait(seconds=WARM_UP_S)
            slow_from = time.monotonic()
            run.wait(seconds=given.seconds)
            run.stop()
        sender.stop()
    slow = [entry for entry in seen if entry[0] > slow_from + 1]
    true, told = (np.array([entry[column] for entry in slow]) for column in (1, 2))
    print(f"{len(slow)} pictures; states: {dict(Counter(entry[3] for entry in slow))}")
    print(f"true age: median {np.median(true):.0f} ms, greatest {true.max():.0f} ms")
    print(f"told age: median {np.median(told):.0f} ms, greatest {told.max():.0f} ms")
    lies = sum(entry[3] == "LIVE" and entry[1] > 1000 for entry in slow)
    print(f"LIVE and older than 1 s: {lies} of {len(slow)}")


if __name__ == "__main__":
    main()
