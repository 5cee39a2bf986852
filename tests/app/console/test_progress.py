"""The progress bar: what it shows on a terminal, and that it shows nothing elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trocar.console import progress
from trocar.console.progress import progress_bar


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Makes the bar draw into a text that it takes for a terminal."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    return shown


def test_known_total(terminal: io.StringIO) -> None:
    with progress_bar("reading", total=7) as bar:
        bar.update(3)
        bar.advance()
    assert "reading" in terminal.getvalue()
    assert "4/7" in terminal.getvalue()


def test_total_that_comes_later(terminal: io.StringIO) -> None:
    with progress_bar("a [bold]name.mp4", unit="frames") as bar:
        bar.update(1)
        bar.update(2, 9)
        bar.update(3)  # no total: the known one stays
    assert "3/9" in terminal.getvalue()
    assert "frames/s" in terminal.getvalue()
    assert "a [bold]name.mp4" in terminal.getvalue()  # a file name is no markup


def test_one_row_for_each_stage(terminal: io.StringIO) -> None:
    with progress_bar() as bar:
        bar.update_stage("float32", 1, 3)
        bar.update_stage("float16", 1, 5)
        bar.update_stage("float32", 3, 3)
    *_, last = terminal.getvalue().split("float32")  # the rows as they were drawn last
    assert "3/3" in last
    assert last.count("float16") == 1
    assert "1/5" in last


def test_nothing_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("reading", total=2) as bar:
        bar.update(1)
        bar.update_stage("writing", 1, 1)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
