"""The metrics text, read back by Prometheus's own parser."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trocar.runtime.telemetry.latency import Stages
from trocar.runtime.telemetry.prometheus import CONTENT_TYPE, StreamMetrics, prometheus_text

AWKWARD = [
    'a"quote',
    "back\\slash",
    "two\nlines",
    "OP-Saal 3 · Kamera é 手術",
    'all\\" of\\n it\n"',
]
DURATIONS_MS = {"infer": [10.0, 20.0, 30.0, 40.0], "mask age": [5.0]}


def stream(name: str, scale: float = 1.0) -> StreamMetrics:
    stages = Stages()
    for stage, values in DURATIONS_MS.items():
        for value in values:
            stages.record(stage, value * scale)
    return StreamMetrics(
        name=name, stages=stages, counters={"frames_read_total": 7 * scale, "live": 1.0}
    )


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", AWKWARD)
def test_every_family_appears_once_and_every_sample_is_right(name: str, count: int) -> None:
    names = [name, f"other {name}"][:count]
    text = prometheus_text([stream(n, scale) for n, scale in zip(names, (1.0, 2.0), strict=False)])
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: family.type for name, family in families.items()} == {
        "trocar_stage_seconds": "summary",
        "trocar_frames_read": "counter",
        "trocar_live": "gauge",
    }
    for kind in ("HELP", "TYPE"):
        declared = re.findall(rf"^# {kind} (\S+)", text, re.MULTILINE)
        assert len(declared) == len(set(declared)) == 3
    samples = {
        (s.name, *(s.labels.get(key) for key in ("stream", "stage", "quantile"))): s.value
        for family in families.values()
        for s in family.samples
    }
    # No series is given twice, and none is missing.
    assert len(samples) == sum(len(family.samples) for family in families.values())
    assert len(samples) == count * (2 * 6 + 2)
    for own, scale in zip(names, (1.0, 2.0), strict=False):
        assert samples["trocar_frames_read_total", own, None, None] == 7 * scale
        assert samples["trocar_live", own, None, None] == 1
        for stage, values in DURATIONS_MS.items():
            seconds = [value * scale / 1000 for value in values]
            assert samples["trocar_stage_seconds_count", own, stage, None] == len(values)
            total = samples["trocar_stage_seconds_sum", own, stage, None]
            assert total == pytest.approx(sum(seconds))
            quantiles = [
                samples["trocar_stage_seconds", own, stage, quantile]
                for quantile in ("0.5", "0.95", "0.99", "0.999")
            ]
            middle = sorted(seconds)[(len(seconds) - 1) // 2]
            assert quantiles[0] == pytest.approx(middle, rel=0.01)
            assert quantiles[-1] == pytest.approx(max(seconds), rel=0.01)
            assert quantiles == sorted(quantiles)


def test_streams_of_one_name_stay_apart() -> None:
    text = prometheus_text([stream("camera"), stream("camera", 2.0), stream("camera#2", 3.0)])
    (family,) = (f for f in text_string_to_metric_families(text) if f.name == "trocar_frames_read")
    assert {s.labels["stream"]: s.value for s in family.samples} == {
        "camera": 7,
        "camera#2": 14,
        "camera#2#2": 21,
    }


def test_the_content_type_names_the_text_format() -> None:
    assert re.match(r"text/plain; version=\d\.\d\.\d; charset=utf-8", CONTENT_TYPE)
