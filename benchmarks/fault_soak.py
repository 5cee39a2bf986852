"""Two live streams while faults are put in at random: does the state tell the truth?

python benchmarks/fault_soak.py --frames 1000000 --json soak.json      # three hours
python benchmarks/fault_soak.py --seconds 600                          # a taste

Two senders encode H.264 to UDP, each in a process of its own, with the true time of capture in
every picture. From a seed, every few seconds one fault is put in: camera off, encoder restarted,
datagrams lost, camera frozen, decoder slow, model raising, model slow, terminal stalled, disk full.
Checks:

- every change to a worse state lies within a second of a fault that explains it (plus the seconds
  that its condition looks back on), or of a time in which this machine starved the run or its
  sender: Linux says how long each thread waited for a core (`helpers.live.scheduler`);
- the age that is told is the true one, up to a constant for the sender's encoder;
- no picture whose mask is older than ``max_age`` was LIVE;
- memory, threads and file descriptors do not grow.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.live.bar_code import read_stamp
from helpers.live.clients import Clients
from helpers.live.explained import changes_to_worse, explanation
from helpers.live.faults import Fault, FaultyModel, Injector, Sender, Switches
from helpers.live.scheduler import SchedulerWatch
from soak import PAGE, make_model, trend

from trocar.contract.bundle import write_atomic
from trocar.contract.media.video.decoder import VideoDecoder
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.dispatcher import Dispatcher
from trocar.runtime.live.health import Health, StateChange
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback, JsonLines
from trocar.runtime.sources.base import SourceOptions
from trocar.runtime.sources.open import open_source
from trocar.runtime.sources.reconnect import ReconnectingSource
from trocar.runtime.telemetry.prometheus import prometheus_text
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker

SETTLED_S = 300.0
"""Seconds after which memory is looked at."""

START_S = 8.0
"""Seconds in which the streams open."""

CURVE = 300
"""Points of the curves that are written."""


@dataclass
class Seen:
    """What the pictures of one stream showed.

    Attributes:
        pictures: How many.
        offsets: `time.monotonic`, and the true age minus the told age in milliseconds, of pictures
            outside freezes.
        lies: Pictures that were LIVE with a mask that was truly too old.
        unread: Pictures whose time could not be read.
    """

    pictures: int = 0
    offsets: list[tuple[float, float]] = field(default_factory=list)
    lies: int = 0
    unread: int = 0


@dataclass
class Curves:
    """``[seconds, frames, MB, threads, descriptors]`` of this process over time."""

    points: list[tuple[float, int, float, int, int]] = field(default_factory=list)

    def add(self, seconds: float, frames: int) -> None:
        """Looks at this process."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        point = (round(seconds, 1), frames, round(pages * PAGE / 1e6, 1), threads, files)
        self.points.append(point)

    def thinned(self) -> list[tuple[float, int, float, int, int]]:
        """`CURVE` points at most."""
        return self.points[:: 1 + len(self.points) // CURVE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="of both streams together")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end earlier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=40, help="of the live page")
    parser.add_argument("--fps", type=int, default=50, help="of each stream")
    parser.add_argument("--model", type=Path, help="a bundle; default: a small one is made")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), given)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    hidden = ("checks", "curves", "unexplained")
    print(json.dumps({k: v for k, v in figures.items() if k not in hidden}, indent=1))
    print("\n".join(figures["unexplained"][:20]))
    for text, good in figures["checks"].items():
        print("ok  " if good else "BAD ", text)
    sys.exit(0 if all(figures["checks"].values()) else "the soak failed: see above")


def soak(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    model = given.model or make_model(folder, height=64, width=80)
    switches = Switches()
    decode = VideoDecoder._decode

    def slow_decode(decoder: VideoDecoder, *args: Any) -> Any:
        if time.monotonic() < switches.decoder_slow_until:
            time.sleep(2 / given.fps)
        return decode(decoder, *args)

    VideoDecoder._decode = slow_decode  # type: ignore[method-assign]
    senders = [Sender(given.fps), Sender(given.fps)]
    injector = Injector(given.seed, senders, switches)
    watch = SchedulerWatch({os.getpid(): None, **{s.pid: n for n, s in enumerate(senders)}})
    options = LiveOptions()
    seen = [Seen() for _ in senders]
    lines = [0 for _ in senders]
    changes: list[list[StateChange]] = [[] for _ in senders]
    curves = Curves()

    def listener(number: int) -> Any:
        def note(change: StateChange) -> None:
            changes[number].append(change)
            time.sleep(max(0.0, switches.terminal_stalls_until - time.monotonic()))

        return note

    def look(number: int) -> Any:
        def take(event: FrameEvent) -> None:
            _judge(event, seen[number], number, injector, options)

        return take

    with Session.open(model, threads=1, spinning=False) as session:
        monitor = Monitor("127.0.0.1", 0)
        streams = []
        for number, sender in enumerate(senders):
            health = Health(listener(number))
            source = ReconnectingSource(
                lambda port=sender.port: open_source(  # type: ignore[misc]
                    f"udp://127.0.0.1:{port}", SourceOptions(timeout_s=1.0)
                ),
                name=f"camera {number}",
                listener=health,
                max_pause_s=0.5,
            )
            processor = FrameProcessor(
                FaultyModel(session, switches),  # type: ignore[arg-type]
                smoother=MaskSmoother(),
                post_processors=[Tracker(), Presence(session.classes)],
            )
            # A pipe: a million results fill no disk, and a full disk does not end them.
            pipe = folder / f"{number}.jsonl"
            os.mkfifo(pipe)
            threading.Thread(target=_read, args=(pipe, lines, number), daemon=True).start()
            sinks = [
                JsonLines(pipe, live=True),
                Callback(look(number), name="judge"),
                monitor.feed(f"camera {number}"),
            ]
            streams.append(
                LiveStream(
                    source, processor, painter=Painter(session.classes), sinks=sinks,
                    options=options, health=health,
                )
            )  # fmt: skip
            monitor.feeds[str(number)].update(streams[-1])
        run = LiveRun(FaultyModel(session, switches), streams)  # type: ignore[arg-type]
        monitor.start()
        clients = Clients(monitor.address, given.clients)
        metrics = folder / "metrics.prom"
        writer = Dispatcher(
            "metrics",
            every=(0.3, lambda: write_atomic(metrics, prometheus_text(run.metrics()).encode())),
        )
        watch.start()
        begun = time.monotonic()
        run.start()
        broken_metrics = _drive(given, begun, streams, injector, curves, metrics)
        time.sleep(8.0)
        curves.add(time.monotonic() - begun, sum(stream.counts.read for stream in streams))
        starved = watch.share(begun)
        final = [stream.health.state for stream in streams]
        starved_at_end = any(watch.starved(n, time.monotonic()) for n in range(len(streams)))
        watch.end()
        clients.stop()
        summaries = run.stop()
        writer.finish(timeout_s=2.0)
        monitor.stop()
    for sender in senders:
        sender.stop()
    faults = injector.explanations()
    explained: Counter[str] = Counter()
    unexplained = []
    for number, told in enumerate(changes):
        for worse in changes_to_worse(told):
            if worse.moment < begun + START_S:
                continue
            kind = explanation(worse, number, faults, watch.stalls)
            explained[kind or "nothing"] += 1
            if not kind:
                unexplained.append(
                    f"stream {number}, {worse.moment - begun:.2f} s: {worse.change.state} "
                    f"({', '.join(worse.new)}): " + "; ".join(worse.change.reasons)
                )
    worse_count = sum(explained.values())
    points = np.array([(p[0], p[2]) for p in curves.points])
    # FFmpeg fills its ring of datagrams, 5 MB for each stream, in the first minutes.
    settled = points[points[:, 0] > SETTLED_S]
    is_long = len(settled) > 100 and settled[-1][0] > 2 * SETTLED_S
    slope, error, level = trend(settled if is_long else points)
    offsets = np.array([offset for s in seen for _, offset in s.offsets])
    middle = float(np.median(offsets))
    wrong = [
        (number, moment)
        for number, s in enumerate(seen)
        for moment, offset in s.offsets
        if abs(offset - middle) > 250
    ]
    # A sender that has no core stamps a picture, and sends it later.
    dishonest = sum(not watch.starved(*one) for one in wrong)
    counts = [summary.counts for summary in summaries]
    read = sum(c.read for c in counts)
    shown, dropped = sum(c.written for c in counts), sum(c.dropped for c in counts)
    first = next((p for p in curves.points if p[0] > 30), curves.points[0])
    before, after = first[3:], curves.points[-1][3:]
    beats = np.array(watch.late_ms)
    return {
        "command": "python " + " ".join(sys.argv),
        "seconds": round(time.monotonic() - begun, 1),
        "read": read,
        "shown": shown,
        "dropped": dropped,
        "analysed": sum(c.processed for c in counts),
        "result_lines": sum(lines),
        "faults": dict(Counter(fault.kind for fault in injector.faults)),
        "machine": {
            "starved_share_of_time": round(starved, 3),
            "starved_times": len(watch.stalls),
            "thread_seconds_waited_for_a_core": round(watch.waited_s, 1),
            "heartbeat_late_ms": {
                "p50": round(float(np.percentile(beats, 50)), 1),
                "p99": round(float(np.percentile(beats, 99)), 1),
                "max": round(float(beats.max()), 1),
            },
        },
        "changes_to_worse": worse_count,
        "explained_by": dict(explained),
        "unexplained": unexplained,
        "age_offset_ms": round(middle, 1),
        "age_difference_ms": {
            "p50": round(float(np.percentile(np.abs(offsets - middle), 50)), 1),
            "p99.9": round(float(np.percentile(np.abs(offsets - middle), 99.9)), 1),
            "max": round(float(np.abs(offsets - middle).max()), 1),
        },
        "unreadable_pictures": sum(s.unread for s in seen),
        "memory_mb": level,
        "memory_slope_mb_a_minute": slope,
        "memory_slope_error": error,
        "curves": {
            "columns": ["seconds", "frames", "MB", "threads", "descriptors"],
            "points": curves.thinned(),
        },
        "checks": {
            f"read {read} = shown {shown} + dropped {dropped}": read == shown + dropped,
            f"{len(unexplained)} of {worse_count} changes to worse unexplained": not unexplained,
            f"{dishonest} of {len(offsets)} ages wrong by more than 250 ms, without the "
            f"{len(wrong) - dishonest} of a starved machine": dishonest == 0,
            f"{sum(s.lies for s in seen)} LIVE pictures with a mask too old": not any(
                s.lies for s in seen
            ),
            f"both streams LIVE at the end: {final}"
            + (", starved" if starved_at_end else ""): starved_at_end or final == ["LIVE", "LIVE"],
            f"metrics file incomplete {broken_metrics} times": broken_metrics == 0,
            f"threads and descriptors {before} -> {after}": after[0] <= before[0]
            and after[1] <= before[1] + 2,
            f"memory {level:.1f} MB, slope {slope:+.3f} ± {error:.3f} MB a minute"
            + ("" if is_long else ", not judged in less than ten minutes"): not is_long
            or slope < max(2 * error, level / 100 / max(1.0, points[-1][0] / 60)),
        },
    }


def _drive(
    given: argparse.Namespace,
    begun: float,
    streams: list[LiveStream],
    injector: Injector,
    curves: Curves,
    metrics: Path,
) -> int:
    """Puts faults in until the frames are read; how often the metrics file was incomplete."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    due, told, noted, broken = begun + 10.0, begun, begun - 10, 0
    while True:
        now = time.monotonic()
        frames = sum(stream.counts.read for stream in streams)
        if frames >= given.frames or now - begun >= given.seconds:
            break
        if now >= due:
            due = now + injector.inject()
        full = now < injector.switches.disk_full_until
        # No file may grow beyond 0 bytes: what a full disk does, and needs no rights.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if full else soft, hard))
        if metrics.exists():
            broken += "frames_read_total" not in metrics.read_text()
        if now - noted >= 5:
            gc.collect()
            curves.add(now - begun, frames)
            noted = now
        # Not while no file may grow: the words may go into one.
        if now - told >= 30 and not full:
            _, _, megabytes, threads, files = curves.points[-1]
            print(
                f"{now - begun:.0f} s, {frames} of {given.frames} frames, {megabytes:.0f} MB, "
                f"{threads} threads, {files} descriptors, {len(injector.faults)} faults",
                file=sys.stderr,
                flush=True,
            )
            told = now
        time.sleep(0.2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return broken


def _judge(
    event: FrameEvent, seen: Seen, number: int, injector: Injector, options: LiveOptions
) -> None:
    """Compares what was told of a picture with the time that is printed in it."""
    now = time.monotonic()
    seen.pictures += 1
    stamped = read_stamp(event.frame.image)
    if stamped is None:
        seen.unread += 1
        return
    recent = [f for f in injector.faults[-3:] if f.kind == "freeze"]
    said = [Fault(kind, number, a, b) for kind, a, b in injector.effects(number)[-2:]]
    if any(f.explains(number, now) for f in [*recent, *said] if f.kind == "freeze"):
        return
    true_ms = now * 1000 - stamped
    seen.offsets.append((now, true_ms - (now * 1000 - event.frame.captured_ns / 1e6)))
    if event.status.startswith("LIVE") and event.result is not None:
        # The mask's frame was captured that much earlier than the picture's.
        mask_ms = true_ms + (event.frame.captured_ns - event.result.captured_ns) / 1e6
        seen.lies += not event.visible or mask_ms > options.max_age_ms + 250


def _read(pipe: Path, lines: list[int], number: int) -> None:
    """Reads the results of a stream from its pipe; a line that is no JSON ends the count."""
    with pipe.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)
            lines[number] += 1


if __name__ == "__main__":
    main()
