"""Clients of a live page, in a process of their own, so that they do not share the run's lock.

python -c "from helpers.live.clients import main; main()" http://127.0.0.1:8080/ 40
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2]


class Clients:
    """The process.

    Args:
        address: Of the page.
        count: How many clients.
        sip: Bytes that a client of the picture reads every half second.
    """

    def __init__(self, address: str, count: int, *, sip: int = 65536) -> None:
        start = "from helpers.live.clients import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start, address, str(count), str(sip)],
            cwd=BENCHMARKS,
            stdin=subprocess.PIPE,
        )

    def stop(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def main() -> None:
    address, count, sip = sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or [65536])[0])
    for number in range(count):
        threading.Thread(target=_watch, args=(address, number, sip), daemon=True).start()
    sys.stdin.read()


def _watch(address: str, number: int, sip: int) -> None:
    """Every third client asks for the state, the others for the picture."""
    while True:
        try:
            if number % 3 == 0:
                with urllib.request.urlopen(f"{address}state.json", timeout=10) as answer:
                    json.load(answer)
                time.sleep(1.0)
            else:
                with urllib.request.urlopen(f"{address}stream", timeout=10) as answer:
                    while answer.read(sip):
                        time.sleep(0.5)
        except (OSError, ValueError):
            time.sleep(1.0)
