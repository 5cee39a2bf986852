"""Two live streams while faults are put in at random: does the state tell the truth?

python benchmarks/fault_soak.py --fast --json soak.json      # 1,000,000 frames, about 35 minutes
python benchmarks/fault_soak.py --seconds 600                # a taste, with the usual sizes

``--fast`` is for two quiet cores: 300 frames/s of 128x96 from each sender, a network of one layer
that answers after 40 ms, and clients that read slowly. All checks are the same.

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
import dataclasses
import gc
import json
import os
import resource
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from helpers.live.clients import Clients
from helpers.live.explained import changes_to_worse, explanation
from helpers.live.faults import FaultyModel, Injector, Sender, Switches
from helpers.live.scheduler import SchedulerWatch
from helpers.soak.growth import COLUMNS, Curves, given_back_mb, growth
from helpers.soak.judge import MAX_ERROR_MS, Seen, age_report, judge
from helpers.soak.recorder import LockWatch, Recorder
from soak import make_model

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

START_S = 8.0
"""Seconds in which the streams open."""

MOST_RECORDS = 5000
"""Changes of state of which it is kept what went before."""

FAST = {"fps": 300, "size": "128x96", "model_s": 0.04, "sip": 4096}
USUAL = {"fps": 50, "size": "320x240", "model_s": 0.0, "sip": 65536}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="of both streams together")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end earlier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=40, help="of the live page")
    parser.add_argument("--fast", action="store_true", help="see above")
    parser.add_argument("--fps", type=int, help="of each stream; default: 50, or 300 with --fast")
    parser.add_argument("--warm-up", type=float, default=300.0, help="seconds, for the memory")
    parser.add_argument("--trace-memory", action="store_true", help="after it: who allocates more")
    parser.add_argument("--model", type=Path, help="a bundle; default: a small one is made")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    profile = FAST if given.fast else USUAL
    for name, value in profile.items():
        setattr(given, name, getattr(given, name, None) or value)
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), given)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    hidden = ("checks", "curves", "unexplained", "wrong_ages")
    print(json.dumps({k: v for k, v in figures.items() if k not in hidden}, indent=1))
    print("\n".join([*figures["unexplained"][:20], *figures["wrong_ages"][:20]]))
    for text, good in figures["checks"].items():
        print("ok  " if good else "BAD ", text)
    sys.exit(0 if all(figures["checks"].values()) else "the soak failed: see above")


def soak(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    small = {"encoder": "none"} if given.fast else {}
    model = given.model or make_model(folder, height=64, width=80, **small)
    switches = Switches(model_s=given.model_s)
    decode = VideoDecoder._decode

    def slow_decode(decoder: VideoDecoder, *args: Any) -> Any:
        if time.monotonic() < switches.decoder_slow_until:
            time.sleep(2 / given.fps)
        return decode(decoder, *args)

    VideoDecoder._decode = slow_decode  # type: ignore[method-assign]
    senders = [Sender(given.fps, size=given.size) for _ in range(2)]
    # Those that have ended: the process that made the model.
    others_s = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    injector = Injector(given.seed, senders, switches)
    watch = SchedulerWatch({os.getpid(): None, **{s.pid: n for n, s in enumerate(senders)}})
    options = LiveOptions()
    seen = [Seen(given.frames) for _ in senders]
    recorders = [Recorder() for _ in senders]
    lock = LockWatch()
    lines = [0 for _ in senders]
    changes: list[list[StateChange]] = [[] for _ in senders]
    before: dict[tuple[int, int], str] = {}
    curves = Curves()

    def listener(number: int) -> Any:
        def note(change: StateChange) -> None:
            changes[number].append(change)
            before[number, change.at_ns] = recorders[number].before(change.at_ns / 1e9) + (
                f", the interpreter's lock for {lock.before(change.at_ns / 1e9):.0f} ms"
            )
            while len(before) > MOST_RECORDS:
                del before[next(iter(before))]
            time.sleep(max(0.0, switches.terminal_stalls_until - time.monotonic()))

        return note

    def look(number: int) -> Any:
        def take(event: FrameEvent) -> None:
            recorders[number].shown(event)
            judge(event, seen[number], number, injector, options)

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
        clients = Clients(monitor.address, given.clients, sip=given.sip)
        metrics = folder / "metrics.prom"
        writer = Dispatcher(
            "metrics",
            every=(0.3, lambda: write_atomic(metrics, prometheus_text(run.metrics()).encode())),
        )
        watch.start()
        lock.start()
        begun, begun_s = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        run.start()
        broken_metrics, allocations = _drive(given, begun, streams, injector, curves, metrics)
        time.sleep(8.0)
        seconds = time.monotonic() - begun
        curves.add(seconds, sum(stream.counts.read for stream in streams))
        own_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - begun_s
        starved = watch.share(begun)
        final = [stream.health.state for stream in streams]
        starved_at_end = any(watch.starved(n, time.monotonic()) for n in range(len(streams)))
        watch.end()
        lock.end()
        clients.stop()
        summaries = run.stop()
        writer.finish(timeout_s=2.0)
        monitor.stop()
        gc.collect()
        trimmed = given_back_mb()
    for sender in senders:
        sender.stop()
    other_s = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - others_s
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
                    f"({', '.join(worse.new)}): {'; '.join(worse.change.reasons)}; "
                    + before.get((number, worse.change.at_ns), "")
                )
    worse_count = sum(explained.values())
    grown = growth(curves.points, warm_up_s=given.warm_up)
    ages = age_report(seen)
    # A sender that has no core stamps a picture, and sends it later.
    dishonest = [one for one in ages.wrong if not watch.starved(*one[:2])]
    counts = [summary.counts for summary in summaries]
    read = sum(c.read for c in counts)
    shown, dropped = sum(c.written for c in counts), sum(c.dropped for c in counts)
    early = next((p for p in curves.points if p[0] > 30), curves.points[0])[3:5]
    # One fault may be on its way at the end: the smallest of the last minute counts.
    late = np.array([p[3:5] for p in curves.points[-12:]]).min(axis=0).tolist()
    beats = np.array(watch.late_ms)
    return {
        "command": "python " + " ".join(sys.argv),
        "seconds": round(seconds, 1),
        "read": read,
        "frames_per_second": round(read / seconds, 1),
        "shown": shown,
        "dropped": dropped,
        "analysed": sum(c.processed for c in counts),
        "result_lines": sum(lines),
        "faults": dict(Counter(fault.kind for fault in injector.faults)),
        "machine": {
            "processor_seconds": {"run": round(own_s, 1), "senders_and_clients": round(other_s, 1)},
            "starved_share_of_time": round(starved, 3),
            "starved_times": len(watch.stalls),
            "thread_seconds_waited_for_a_core": round(watch.waited_s, 1),
            "longest_wait_for_the_interpreter_ms": round(lock.longest_ms, 1),
            "heartbeat_late_ms": {
                "p50": round(float(np.percentile(beats, 50)), 1),
                "p99": round(float(np.percentile(beats, 99)), 1),
                "max": round(float(beats.max()), 1),
            },
        },
        "changes_to_worse": worse_count,
        "explained_by": dict(explained),
        "unexplained": unexplained,
        "ages_judged": ages.judged,
        "age_offset_ms": ages.middle_ms,
        "age_difference_ms": ages.difference_ms,
        "wrong_ages": [
            f"stream {n}, {moment - begun:.2f} s: the true age is {error:+.0f} ms of the told one"
            for n, moment, error in dishonest
        ],
        "unreadable_pictures": sum(s.unread for s in seen),
        "memory": {
            "warm_up_s": given.warm_up,
            **dataclasses.asdict(grown),
            "given_back_by_malloc_trim_mb": trimmed,
        },
        "allocations": allocations,
        "curves": {"columns": COLUMNS, "points": curves.thinned()},
        "checks": {
            f"read {read} = shown {shown} + dropped {dropped}": read == shown + dropped,
            f"{len(unexplained)} of {worse_count} changes to worse unexplained": not unexplained,
            f"{len(dishonest)} of {ages.judged} ages wrong by more than {MAX_ERROR_MS} ms, without "
            f"the {len(ages.wrong) - len(dishonest)} of a starved machine": not dishonest,
            f"{sum(s.lies for s in seen)} LIVE pictures with a mask too old": not any(
                s.lies for s in seen
            ),
            f"both streams LIVE at the end: {final}"
            + (", starved" if starved_at_end else ""): starved_at_end or final == ["LIVE", "LIVE"],
            f"metrics file incomplete {broken_metrics} times": broken_metrics == 0,
            f"threads and descriptors {list(early)} -> {late}": late[0] <= early[0] + 2
            and late[1] <= early[1] + 2,
            grown.text(): grown.flat or not grown.judged,
        },
    }


def _drive(
    given: argparse.Namespace,
    begun: float,
    streams: list[LiveStream],
    injector: Injector,
    curves: Curves,
    metrics: Path,
) -> tuple[int, list[str]]:
    """Puts faults in until the frames are read.

    Returns:
        How often the metrics file was incomplete, and who allocated more since the warm-up.
    """
    traced: tracemalloc.Snapshot | None = None
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
        if given.trace_memory and traced is None and now - begun > given.warm_up:
            tracemalloc.start(8)
            traced = tracemalloc.take_snapshot()
        if now - noted >= 5:
            gc.collect()
            curves.add(now - begun, frames)
            noted = now
        # Not while no file may grow: the words may go into one.
        if now - told >= 30 and not full:
            _, _, megabytes, threads, files, _ = curves.points[-1]
            print(
                f"{now - begun:.0f} s, {frames} of {given.frames} frames, {megabytes:.0f} MB, "
                f"{threads} threads, {files} descriptors, {len(injector.faults)} faults",
                file=sys.stderr,
                flush=True,
            )
            told = now
        time.sleep(0.2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if traced is None:
        return broken, []
    more = tracemalloc.take_snapshot().compare_to(traced, "lineno")
    return broken, [str(line) for line in more[:20]]


def _read(pipe: Path, lines: list[int], number: int) -> None:
    """Reads the results of a stream from its pipe; a line that is no JSON ends the count."""
    with pipe.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)
            lines[number] += 1


if __name__ == "__main__":
    main()
