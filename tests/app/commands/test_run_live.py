"""`trocar run --live` with two streams: outputs by number, metrics that Prometheus can read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from trocar.commands.run import run
from trocar.contract.errors import ConfigError


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
        assert json.loads(lines[0])["schema"] == "1.0"


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
