"""`trocar run --live` with two streams: outputs by number, metrics that Prometheus can read."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from trocar.commands import _live
from trocar.commands.run import run
from trocar.console import live as terminal
from trocar.contract.errors import BackendError, ConfigError, SinkError, SourceError
from trocar.runtime.sinks.records import JsonLines


def invoke(*args: object) -> str:
    done = CliRunner().invoke(run, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_two_streams_share_a_model_and_one_metrics_file(
    tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    metrics = tmp_path / "m.prom"
    text = invoke(
        *(tiny_bundle, video, "--stream", video, "--live", "--threads", 1),
        *("--json", tmp_path / "o{n}.jsonl", "--metrics", metrics),
    )
    assert text.count(": 30 frames read, ") == 2
    families = list(text_string_to_metric_families(metrics.read_text(encoding="utf-8")))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    declared = re.findall(r"^# TYPE (\S+)", metrics.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(declared) == sorted(set(declared))
    samples = {
        (family.name, sample.labels["stream"]): sample.value
        for family in families
        if family.name != "trocar_stage_seconds"
        for sample in family.samples
    }
    streams = (str(video), f"{video}#2")
    for number, stream in enumerate(streams):
        assert samples["trocar_frames_read", stream] == 30
        shown, dropped = (samples[f"trocar_frames_{k}", stream] for k in ("shown", "dropped"))
        assert shown + dropped == 30
        lines = (tmp_path / f"o{number}.jsonl").read_text(encoding="utf-8").splitlines()
        assert 0 < len(lines) <= samples["trocar_frames_analysed", stream]
        assert json.loads(lines[0])["schema"] == "1.1"


def test_flags_that_do_not_fit_live_runs_are_refused(
    tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"2 streams cannot share the output .*o\.jsonl"):
        invoke(tiny_bundle, video, "--stream", video, "--json", tmp_path / "o.jsonl")
    with pytest.raises(ConfigError, match="--max-frames is for files"):
        invoke(tiny_bundle, video, "--live", "--max-frames", 3)
    with pytest.raises(ConfigError, match="--serve-name, --serve-cert: for the live page only"):
        invoke(tiny_bundle, video, "--live", "--serve-cert", "c.pem", "--serve-name", "theatre")
    with pytest.raises(ConfigError, match="--serve-key: for live runs only"):
        invoke(tiny_bundle, video, "--serve-key", "k.pem")
    with pytest.raises(ConfigError, match="a certificate without its key"):
        invoke(tiny_bundle, video, "--live", "--serve", "127.0.0.1:0", "--serve-cert", "c.pem")
    with pytest.raises(ConfigError, match="load shedding needs a deadline"):
        invoke(tiny_bundle, video, "--live", "--shed-load")
    with pytest.raises(ConfigError, match=r"deadline_ms is -1\.0, expected above 0"):
        invoke(tiny_bundle, video, "--live", "--deadline-ms", -1)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["full", "closed"])
def broken_terminal(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A standard error that nobody reads, or whose reader has gone."""
    reader, writer = os.pipe()
    monkeypatch.setattr(terminal, "END_S", 0.2)
    monkeypatch.setattr(terminal, "_own_stderr", lambda: terminal._Descriptor(os.dup(writer)))
    if request.param == "full":
        size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, bytes(size))
    else:
        os.close(reader)
    yield
    os.close(writer)
    if request.param == "full":
        # The daemon that waits for the terminal gets an error and ends.
        os.close(reader)


def test_a_terminal_that_does_not_read_stops_nothing(
    broken_terminal: None, tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    """A hung SSH connection, Ctrl-S, a closed pipe: the run goes on and ends as it should."""
    output = tmp_path / "o.jsonl"
    metrics = tmp_path / "m.json"
    invoke(tiny_bundle, video, "--live", "--threads", 1, "--json", output, "--metrics", metrics)
    assert output.read_text(encoding="utf-8").count("\n") > 5
    assert json.loads(metrics.read_text(encoding="utf-8"))[0]["counts"]["read"] == 30


def test_a_recording_that_was_never_made_is_an_error(tiny_bundle: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"udp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(SinkError, match=r"o\.jsonl: it was never made") as caught:
        invoke(
            *(tiny_bundle, place, "--seconds", 0.3, "--timeout", 0.3),
            *("--json", tmp_path / "o.jsonl"),
        )
    assert caught.value.code == 14


def ended(*faults: tuple[str, str, str], failed: str = "", opened: bool = True) -> SimpleNamespace:
    """What is left of a stream at the end of a run."""
    health = _live.Health()
    for name, state, reason in faults:
        health.set(name, state, reason)
    worker = SimpleNamespace(sink=JsonLines(Path("o.jsonl")), failed=failed, opened=opened)
    return SimpleNamespace(
        source=SimpleNamespace(name="rtsp://a:b@camera/1"), health=health, sink_workers=[worker]
    )


@pytest.mark.parametrize(
    ("stream", "error", "text"),
    [
        (ended(("source", "FAULT", "no source: gone")), SourceError, "camera/1: no source: gone"),
        (ended(("model", "FAULT", "the model fails: x")), BackendError, "the model fails: x"),
        (ended(failed="disk full"), SinkError, "o.jsonl: disk full"),
        (ended(opened=False), SinkError, "o.jsonl: it was never made"),
        (ended(("source", "FAULT", "gone"), failed="full"), SinkError, "at the end: .*gone"),
    ],
)
def test_what_is_wrong_at_the_end_is_an_exit_code(
    stream: SimpleNamespace, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        _live._check_end([ended(), stream])  # type: ignore[list-item]
    assert "a:b" not in str(caught.value)


def test_states_that_pass_are_no_error() -> None:
    _live._check_end([ended(("late", "STALE", "late"), ("black", "DEGRADED", "black"))])  # type: ignore[list-item]
