"""SIGTERM and SIGHUP end every command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from trocar import cli
from trocar.contract.bundle import replaced_folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_half_written_is_removed(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(args: object, **_: object) -> None:
        with replaced_folder(tmp_path / "out") as folder:
            (folder / "half").touch()
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    monkeypatch.setattr(cli, "cli", command)
    with pytest.raises(SystemExit) as ended:
        cli.main(["any"])
    assert ended.value.code == 130
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.stopped_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
