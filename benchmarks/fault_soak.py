"""Two live streams while faults are put in at random: does the state tell the truth?

python benchmarks/fault_soak.py --frames 1000000      # hours
python benchmarks/fault_soak.py --frames 20000        # a taste, some minutes

Two senders encode H.264 to UDP, each in a process of its own, with the true time of capture in
every picture. From a seed, every few seconds one fault is put in: camera off, encoder restarted,
datagrams lost, camera frozen, decoder slow, model raising, model slow, terminal stalled. Checks:

- every change to a worse state lies within a second of a fault that explains it, or of a stall of
  this machine (a thread that only sleeps notices those);
- the age that is told is the true one, up to a constant for the sender's encoder;
- no picture whose mask is older than ``max_age`` was LIVE;
- memory, threads and file descriptors do not grow.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.live.bar_code import read_stamp
from helpers.live.faults import Fault, FaultyModel, Injector, Sender, Switches
from soak import PAGE, make_model, trend

from trocar.contract.media.video.decoder import VideoDecoder
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.health import STATES, Health, StateChange
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
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker

STALL_S = 0.15
"""A sleep that takes so much longer than it should is a stall of this machine."""

SETTLED_S = 300.0
"""Seconds after which memory is looked at."""


@dataclass
class Seen:
    """What the pictures of one stream showed.

    Attributes:
        offsets: True age minus told age in milliseconds, of pictures outside freezes.
        lies: Pictures that were LIVE with a mask that was truly too old.
        unread: Pictures whose time could not be read.
    """

    pictures: int = 0
    offsets: list[float] = field(default_factory=list)
    lies: int = 0
    unread: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="of both streams together")
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
    print(json.dumps({k: v for k, v in figures.items() if k != "checks"}, indent=1))
    for text, good in figures["checks"].items():
        print("ok  " if good else "BAD ", text)
    sys.exit(0 if all(figures["checks"].values()) else "the soak failed: see above")


def soak(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    model = given.model or make_model(folder)
    switches = Switches()
    decode = VideoDecoder._decode

    def slow_decode(decoder: VideoDecoder, *args: Any) -> Any:
        if time.monotonic() < switches.decoder_slow_until:
            time.sleep(2 / given.fps)
        return decode(decoder, *args)

    VideoDecoder._decode = slow_decode  # type: ignore[method-assign]
    senders = [Sender(given.fps), Sender(given.fps)]
    injector = Injector(given.seed, senders, switches)
    stalls: list[Fault] = []
    ended = threading.Event()
    threading.Thread(target=_notice_stalls, args=(stalls, ended), daemon=True).start()
    options = LiveOptions()
    seen = [Seen() for _ in senders]
    changes: list[list[StateChange]] = [[] for _ in senders]
    memory: list[tuple[float, float]] = []

    def listener(number: int) -> Any:
        def note(change: StateChange) -> None:
            changes[number].append(change)
            time.sleep(max(0.0, switches.terminal_stalls_until - time.monotonic()))

        return note

    def look(number: int) -> Any:
        def take(event: FrameEvent) -> None:
            _judge(event, seen[number], number, injector.faults, options)

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
            sinks = [
                JsonLines(folder / f"{number}.jsonl", direct=True),
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
        for number in range(given.clients):
            threading.Thread(
                target=_watch_page, args=(monitor.address, number, ended), daemon=True
            ).start()
        begun = time.monotonic()
        run.start()
        due = begun + 10.0
        before: tuple[int, int] | None = None
        while sum(stream.counts.read for stream in streams) < given.frames:
            time.sleep(0.2)
            now = time.monotonic()
            if now >= due:
                due = now + injector.inject()
            if now - begun > 30:
                before = before or _resources()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory.append((now - begun, pages * PAGE / 1e6))
        time.sleep(8.0)
        after = _resources()
        final = [stream.health.state for stream in streams]
        ended.set()
        summaries = run.stop()
        monitor.stop()
    for sender in senders:
        sender.stop()
    explanations = [*injector.faults, *stalls]
    unexplained = [
        f"stream {number}, {change.at_ns / 1e9 - begun:.2f} s: {change.state}: "
        + "; ".join(change.reasons)
        for number, told in enumerate(changes)
        for change in _worse(told)
        if change.at_ns / 1e9 > begun + 8
        and not any(f.explains(number, change.at_ns / 1e9) for f in explanations)
    ]
    worse = sum(len(_worse(told)) for told in changes)
    # FFmpeg fills its ring of datagrams, 5 MB for each stream, in the first minutes.
    settled = [entry for entry in memory if entry[0] > SETTLED_S]
    is_long = len(settled) > 100 and settled[-1][0] > 2 * SETTLED_S
    slope, error, level = trend(np.array(settled if is_long else memory))
    offsets = np.array([o for s in seen for o in s.offsets])
    middle = float(np.median(offsets))
    dishonest = int((np.abs(offsets - middle) > 250).sum())
    counts = [summary.counts for summary in summaries]
    read = sum(c.read for c in counts)
    shown, dropped = sum(c.written for c in counts), sum(c.dropped for c in counts)
    return {
        "command": "python " + " ".join(sys.argv),
        "seconds": round(time.monotonic() - begun, 1),
        "read": read,
        "shown": shown,
        "dropped": dropped,
        "faults": dict(Counter(fault.kind for fault in injector.faults)),
        "stalls_of_the_machine": len(stalls),
        "changes_to_worse": worse,
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
        "threads_and_descriptors": {"after 30 s": before, "at the end": after},
        "checks": {
            f"read {read} = shown {shown} + dropped {dropped}": read == shown + dropped,
            f"{len(unexplained)} of {worse} changes to worse unexplained": not unexplained,
            f"{dishonest} of {len(offsets)} ages wrong by more than 250 ms": dishonest == 0,
            f"{sum(s.lies for s in seen)} LIVE pictures with a mask too old": not any(
                s.lies for s in seen
            ),
            f"both streams LIVE at the end: {final}": final == ["LIVE", "LIVE"],
            f"threads and descriptors {before} -> {after}": before is not None
            and after[0] <= before[0]
            and after[1] <= before[1] + 2,
            f"memory {level:.1f} MB, slope {slope:+.3f} ± {error:.3f} MB a minute"
            + ("" if is_long else ", not judged in less than ten minutes"): not is_long
            or slope < max(2 * error, level / 100 / max(1.0, memory[-1][0] / 60)),
        },
    }


def _judge(
    event: FrameEvent, seen: Seen, number: int, faults: list[Fault], options: LiveOptions
) -> None:
    """Compares what was told of a picture with the time that is printed in it."""
    now = time.monotonic()
    seen.pictures += 1
    frozen = any(f.kind == "freeze" and f.explains(number, now) for f in faults[-3:])
    stamped = read_stamp(event.frame.image)
    if stamped is None:
        seen.unread += 1
        return
    if frozen:
        return
    true_ms = now * 1000 - stamped
    seen.offsets.append(true_ms - (now * 1000 - event.frame.captured_ns / 1e6))
    if event.status.startswith("LIVE") and event.result is not None:
        # The mask's frame was captured that much earlier than the picture's.
        mask_ms = true_ms + (event.frame.captured_ns - event.result.captured_ns) / 1e6
        seen.lies += not event.visible or mask_ms > options.max_age_ms + 250


def _worse(changes: list[StateChange]) -> list[StateChange]:
    """Changes that brought a new reason or a worse state."""
    found, state, reasons = [], "LIVE", set[str]()
    for change in changes:
        is_worse = STATES.index(change.state) > STATES.index(state)
        if is_worse or set(change.reasons) - reasons:
            found.append(change)
        state, reasons = change.state, set(change.reasons)
    return found


def _notice_stalls(stalls: list[Fault], ended: threading.Event) -> None:
    while not ended.is_set():
        begin = time.monotonic()
        time.sleep(0.02)
        took = time.monotonic() - begin
        if took > STALL_S:
            stalls.append(Fault("stall", None, begin, begin + took))


def _watch_page(address: str, number: int, ended: threading.Event) -> None:
    """A client of the live page: every third asks for the state, the others for the picture."""
    while not ended.is_set():
        try:
            if number % 3 == 0:
                with urllib.request.urlopen(f"{address}state.json", timeout=10) as answer:
                    json.load(answer)
                time.sleep(1.0)
            else:
                with urllib.request.urlopen(f"{address}stream", timeout=10) as answer:
                    while not ended.is_set() and answer.read(65536):
                        time.sleep(0.5)
        except (OSError, ValueError):
            time.sleep(1.0)


def _resources() -> tuple[int, int]:
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    main()
