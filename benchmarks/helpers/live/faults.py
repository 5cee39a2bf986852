"""Faults of live runs: senders that misbehave by order, a model that fails, and who chooses.

sender = Sender(25); sender.order("off 2.0"); sender.stop()
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trocar.runtime.session import Session

BENCHMARKS = Path(__file__).resolve().parents[2]

MARGIN_S = 1.0
"""Seconds after a fault's effect within which a change is explained by it."""


@dataclass
class Fault:
    """What was put in.

    Attributes:
        kind: See `Injector`.
        stream: Number of the stream; ``None``: all.
        begin: `time.monotonic`.
        end: When its effect is over.
    """

    kind: str
    stream: int | None
    begin: float
    end: float

    def explains(self, stream: int, moment: float, *, delay_s: float = 0.0) -> bool:
        """Whether a change of that stream at that moment, or so much earlier, may come of it."""
        mine = self.stream in (None, stream)
        return mine and self.begin - 0.1 <= moment <= self.end + MARGIN_S + delay_s


@dataclass
class Switches:
    """What is broken now; the wrapped parts look at it.

    Attributes:
        model_s: Seconds that the model takes longer without any fault.
    """

    model_raises_until: float = 0.0
    model_slow_until: float = 0.0
    decoder_slow_until: float = 0.0
    terminal_stalls_until: float = 0.0
    disk_full_until: float = 0.0
    model_s: float = 0.0


class FaultyModel:
    """The session, whose model raises or is slow when told."""

    def __init__(self, session: Session, switches: Switches) -> None:
        self._session = session
        self._switches = switches

    def infer(self, frames: np.ndarray) -> dict[str, Any]:
        """Runs the model, or fails."""
        now = time.monotonic()
        if now < self._switches.model_raises_until:
            raise RuntimeError("out of memory")
        if now < self._switches.model_slow_until:
            time.sleep(0.5)
        elif self._switches.model_s:
            time.sleep(self._switches.model_s)
        return self._session.infer(frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class Sender:
    """One camera with its encoder.

    Attributes:
        effects: What it did by order, as it said itself: kind, begin and end by `time.monotonic`.
            A starved sender obeys late.
    """

    def __init__(self, fps: int, *, size: str = "320x240") -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        start = "from helpers.live.sender import main; main()"
        command = [sys.executable, "-c", start, str(self.port), "--fps", str(fps)]
        self.effects: list[tuple[str, float, float]] = []
        self._process = subprocess.Popen(
            [*command, "--gop", str(max(1, fps // 2))],
            cwd=BENCHMARKS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """Id of its process."""
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, begin, end = line.split()
            self.effects.append((kind, float(begin), float(end)))

    def order(self, text: str) -> None:
        """Gives an order, see `helpers.live.sender`."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)


_TAILS = {"off": 4.0, "restart": 1.5, "lose": 1.0, "freeze": 0.0}
"""Seconds after the sender's part of a fault: a source that is opened again needs its timeout, a
pause and FFmpeg's probing."""


class Injector:
    """Chooses faults from a seed and puts them in, one after the other.

    Attributes:
        faults: What was put in so far.
        switches: What is broken now.
    """

    def __init__(self, seed: int, senders: list[Sender], switches: Switches) -> None:
        self.faults: list[Fault] = []
        self._random = random.Random(seed)
        self._senders = senders
        self.switches = switches

    def inject(self) -> float:
        """Puts one in; returns the seconds until the next."""
        kinds = (
            *("off", "restart", "lose", "freeze"),
            *("decoder_slow", "model_raises", "model_slow", "terminal", "disk_full"),
        )
        kind = self._random.choice(kinds)
        number = self._random.randrange(len(self._senders))
        sender, seconds = self._senders[number], self._random.uniform(1.0, 3.0)
        tail = 0.0
        if kind == "off":
            sender.order(f"off {seconds:.2f}")
        elif kind == "restart":
            sender.order("restart")
            seconds = 0.0
        elif kind == "lose":
            sender.order(f"lose {self._random.randrange(1, 60)}")
            seconds = 0.5
        elif kind == "freeze":
            sender.order(f"freeze {seconds + 4:.2f}")
            seconds += 4
        else:
            until = time.monotonic() + seconds
            if kind == "decoder_slow":
                self.switches.decoder_slow_until, tail = until, 2.0
            elif kind == "model_raises":
                self.switches.model_raises_until = until
            elif kind == "model_slow":
                self.switches.model_slow_until, tail = until, 0.6
            elif kind == "disk_full":
                self.switches.disk_full_until = until
            else:
                self.switches.terminal_stalls_until = until
        now = time.monotonic()
        everyone = kind not in _TAILS
        if not everyone:
            # The sender says itself when it began and ended; until then the order counts.
            tail = _TAILS[kind]
        self.faults.append(Fault(kind, None if everyone else number, now, now + seconds + tail))
        return seconds + tail + self._random.uniform(1.5, 3.0)

    def explanations(self) -> list[Fault]:
        """The faults that were put in, and what the senders said that they did."""
        said = [
            Fault(kind, number, begin, end + _TAILS[kind])
            for number, sender in enumerate(self._senders)
            for kind, begin, end in sender.effects
        ]
        return [*self.faults, *said]

    def effects(self, number: int) -> list[tuple[str, float, float]]:
        """What a sender said that it did."""
        return self._senders[number].effects
