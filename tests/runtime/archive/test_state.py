"""What ``done.json`` states: the settings of 0.1, so that its archives are not processed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trocar.runtime.archive.state import (
    Job,
    fingerprint,
    folder_of,
    reason_to_process,
    settings_of,
)
from trocar.runtime.pipeline.options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    RunOptions,
)
from trocar.runtime.sinks.video import EncodeOptions
from trocar.runtime.sources.base import SourceOptions

MODEL = Path("model.trocar")
PLAIN = RunOptions(model=ModelOptions(path=MODEL))
EVERYTHING = RunOptions(
    model=ModelOptions(
        path=MODEL, precision="fp32", fast_resize=True, postprocess=False, reject_below=0.5
    ),
    input=InputOptions(source=SourceOptions(allow_truncated=True), max_frames=2),
    output=OutputOptions(encoding=EncodeOptions(quality=30)),
)
# Written by 0.1.0: `--out DIR`, and with every flag that changes results.
PLAIN_SETTINGS = """{"precision": null, "fast_resize": false, "raw": false,
 "unknown_below": null, "limit": null, "allow_truncated": false,
 "outputs": {"json_path": "results.jsonl"}}"""
EVERY_SETTING = """{"precision": "fp32", "fast_resize": true, "raw": true,
 "unknown_below": 0.5, "limit": 2, "allow_truncated": true,
 "codec": "libx264", "preset": "ultrafast", "quality": 30,
 "outputs": {"csv_path": "i.csv", "frames": "f", "json_path": "j.jsonl", "masks": "m",
             "overlay": "o.mp4"}, "classify": "abc"}"""
EVERY_OUTPUT = {
    "overlay": "o.mp4",
    "json": "j.jsonl",
    "csv": "i.csv",
    "frames": "f",
    "masks": "m",
}


@pytest.mark.parametrize(
    ("options", "outputs", "classifier", "text"),
    [
        (PLAIN, {"json": "results.jsonl"}, None, PLAIN_SETTINGS),
        (EVERYTHING, EVERY_OUTPUT, "abc", EVERY_SETTING),
    ],
)
def test_settings_are_those_of_the_first_release(
    tmp_path: Path,
    options: RunOptions,
    outputs: dict[str, str],
    classifier: str | None,
    text: str,
) -> None:
    settings = settings_of(options, outputs, classifier=classifier)
    assert settings == json.loads(text)
    recording = tmp_path / "a.mp4"
    recording.write_bytes(b"video")
    job = Job(
        options=options, out=tmp_path, model="m", settings=settings, outputs=outputs, run="second"
    )
    assert reason_to_process(job, recording) == "new"
    folder = folder_of(tmp_path, recording)
    folder.mkdir()
    marker = {
        "path": str(recording),
        "recording": fingerprint(recording),
        "model": "m",
        "settings": json.loads(text),
        "outputs": {},
        "frames": 2,
        "run": "first",
        "attempt": "first",
    }
    (folder / "done.json").write_text(json.dumps(marker))
    assert reason_to_process(job, recording) == ""
    marker["settings"] = {**settings, "limit": 3}
    (folder / "done.json").write_text(json.dumps(marker))
    assert reason_to_process(job, recording) == "the settings have changed"


def test_settings_of_speed_are_no_reason_to_process_again() -> None:
    fast = RunOptions(model=ModelOptions(path=MODEL, device="cuda:1", threads=7))
    outputs = {"json": "results.jsonl"}
    assert settings_of(fast, outputs) == settings_of(PLAIN, outputs)
    quality = RunOptions(model=PLAIN.model, output=OutputOptions(encoding=EncodeOptions(quality=1)))
    assert settings_of(quality, outputs) == settings_of(PLAIN, outputs)
    film = {**outputs, "overlay": "o.mp4"}
    assert settings_of(quality, film) != settings_of(PLAIN, film)
    tips = RunOptions(
        model=PLAIN.model, output=OutputOptions(encoding=EncodeOptions(quality=30), show=("tips",))
    )
    assert settings_of(tips, outputs) == settings_of(PLAIN, outputs)
    assert settings_of(tips, film) != settings_of(PLAIN, film)
