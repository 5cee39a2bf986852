"""The flags of `trocar run` for what is done over time, and what comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trocar.commands._run_request import request_from
from trocar.commands.run import run
from trocar.contract.errors import ConfigError
from trocar.runtime.archive.state import settings_of
from trocar.runtime.pipeline.options import RunOptions, TemporalOptions
from trocar.runtime.temporal.options import PersistenceOptions, TrackOptions


def options_for(*flags: object) -> RunOptions:
    arguments = ["model.trocar", "a.mp4", *(str(flag) for flag in flags)]
    return request_from(run.make_context("run", arguments).params).options


def test_the_flags_are_the_options() -> None:
    assert options_for().model.temporal == TemporalOptions()
    given = options_for(
        *("--max-lost", 5, "--no-class-vote", "--floating", 0, "--enter-score", 0.8),
        *("--exit-score", 0.25, "--no-smoothing"),
    )
    assert given.model.temporal == TemporalOptions(
        tracks=TrackOptions(max_lost_s=5.0, vote=False),
        persistence=PersistenceOptions(
            floating_s=0.0, enter_score=0.8, exit_score=0.25, relative_score=0.0
        ),
        smooth=False,
    )
    # A lower limit follows the higher one, down to 0.
    for enter, lowest in ((0.8, 0.65), (0.1, 0.0), (0, 0.0)):
        persistence = options_for("--enter-score", enter).model.temporal.persistence
        assert persistence is not None
        assert persistence.lowest_score == pytest.approx(lowest)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--no-postprocess", "--max-lost", 2), "--no-postprocess switches off what --max-lost"),
        (("--no-postprocess", "--no-smoothing", "--floating", 0), "--floating, --no-smoothing"),
        (("--enter-score", 0.4, "--exit-score", 0.5), "exit_score is 0.5 and enter_score is 0.4"),
    ],
)
def test_flags_that_contradict_each_other(flags: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options_for(*flags)


def test_they_are_settings_of_an_archive_where_they_are_not_the_defaults() -> None:
    assert "temporal" not in settings_of(options_for(), {})
    assert "temporal" not in settings_of(options_for("--no-postprocess"), {})
    settings = settings_of(options_for("--max-lost", 5), {})["temporal"]
    assert settings["tracks"]["max_lost_s"] == 5.0
    assert json.loads(json.dumps(settings)) == settings


def test_a_run_says_what_it_left_out(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    def rows(name: str, *flags: object) -> tuple[list[int], str]:
        file = tmp_path / f"{name}.jsonl"
        arguments = [tiny_bundle, video, "--json", file, "--max-frames", 4, *flags]
        done = CliRunner().invoke(run, [str(one) for one in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        lines = file.read_text(encoding="utf-8").splitlines()
        return [len(json.loads(line)["instruments"]) for line in lines], done.output

    assert rows("default")[0] == [2] * 4
    counts, text = rows("strict", "--enter-score", 1)
    assert counts == [0] * 4
    assert "8 regions did not last or had a low score: left out" in " ".join(text.split())
