"""SIGTERM and SIGHUP end every command as Ctrl-C does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from own_process import in_own_process

HALF_WRITTEN = """
import os, signal, sys
from pathlib import Path
from trocar import cli
from trocar.contract.bundle import replaced_folder

number, place = signal.Signals(int(sys.argv[1])), Path(sys.argv[2])

def command(args, **_):
    with replaced_folder(place / "out") as folder:
        (folder / "half").touch()
        os.kill(os.getpid(), number)

before = signal.getsignal(number)
cli.cli = command
try:
    cli.main(["any"])
finally:
    assert signal.getsignal(number) is before
"""

IGNORED = """
import os, signal
from trocar import cli

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with cli.stopped_by_signals():
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
print("whole")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_half_written_is_removed(number: signal.Signals, tmp_path: Path) -> None:
    done = in_own_process(HALF_WRITTEN, int(number), tmp_path)
    assert done.returncode == 130, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    done = in_own_process(IGNORED)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
