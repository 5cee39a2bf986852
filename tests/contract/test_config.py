from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
import tomli_w
from click.testing import CliRunner

from trocar.commands._config_options import config_flags, from_flags
from trocar.contract.config import (
    Range,
    attribute_docs,
    check_ranges,
    fields_of,
    from_mapping,
    read_config,
    require,
    to_mapping,
)
from trocar.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration.

    Attributes:
        steps: Optimiser steps,
            1 or more.
        mode: How.
        size: Height and width.
    """

    steps: int = 10
    rate: float = 0.1
    mode: Literal["soft", "hard"] = "soft"
    size: tuple[int, int] = (4, 6)
    kinds: tuple[str, ...] = ("a", "b")
    weights: Path | None = None
    amp: bool = False

    def __post_init__(self) -> None:
        require(
            (self.steps >= 1, f"steps is {self.steps}, expected 1 or more"),
            (self.rate > 0, f"rate is {self.rate}, expected above 0"),
        )


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Needs a value."""

    count: int
    rate: float = 1.0


def test_attribute_docs_become_help() -> None:
    assert attribute_docs(Config)["steps"] == "Optimiser steps, 1 or more."
    specs = {spec.flag: spec for spec in fields_of(Config)}
    assert specs["--mode"].choices == ("soft", "hard")
    assert specs["--amp"].choices == specs["--steps"].choices == ()


def test_round_trip_through_toml(tmp_path) -> None:
    config = Config(steps=3, weights=Path("w.pth"), kinds=("x",), amp=True)
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps(to_mapping(config)))
    assert read_config(Config, path) == config


def test_every_fault_at_once_with_did_you_mean() -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(
            Config,
            {"setps": 1, "mode": "sofft", "steps": 0, "amp": "perhaps", "size": [1, 2, 3]},
            source="r.toml",
        )
    text = str(caught.value)
    for part in (
        "r.toml",
        "did you mean steps",
        "did you mean soft",
        "steps is 0",
        "true or false",
        "expected 2",
    ):
        assert part in text, part


def test_a_missing_value_is_named_and_others_still_checked() -> None:
    with pytest.raises(ConfigError, match=r"rate: got 'x'.*count is missing"):
        from_mapping(Needs, {"rate": "x"}, source="r")


@pytest.mark.parametrize("value", [True, 1.5, "x", "nan", [1]])
def test_a_whole_number_is_a_whole_number(value) -> None:
    with pytest.raises(ConfigError, match="steps"):
        from_mapping(Config, {"steps": value}, source="r")


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("YES", True), ("on", True), ("false", False), ("No", False), ("off", False)],
)
def test_words_for_true_and_false(text, value) -> None:
    assert from_mapping(Config, {"amp": text}, source="r").amp is value


@pytest.mark.parametrize("value", [3, {"a": 1}])
def test_a_list_is_a_list(value) -> None:
    with pytest.raises(ConfigError, match=r"kinds: .*expected a list"):
        from_mapping(Config, {"kinds": value}, source="r")


@pytest.mark.parametrize("value", [float("nan"), "inf", float("inf")])
def test_numbers_are_finite(value) -> None:
    with pytest.raises(ConfigError, match="finite"):
        from_mapping(Config, {"rate": value}, source="r")


def test_flags_override_recipe_overrides_defaults(tmp_path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("steps = 5\nrate = 0.5\n")

    @click.command()
    @config_flags(Config)
    def command(**flags) -> None:
        config = from_flags(Config, flags, recipe=recipe)
        click.echo(repr(config))

    done = CliRunner().invoke(command, ["--steps", "7", "--size", "9x8", "--amp", "--kinds", "q"])
    assert done.exit_code == 0, done.output
    assert eval(done.output, {"Config": Config, "PosixPath": Path}) == Config(
        steps=7, rate=0.5, size=(8, 9), amp=True, kinds=("q",)
    )
    shown = CliRunner().invoke(command, ["--help"]).output
    assert "Optimiser steps" in shown
    assert "[default: 10]" in shown


@dataclass(frozen=True, kw_only=True)
class Ranged:
    """Numbers with limits.

    Attributes:
        share: A share.
        fold: A fold.
        zoom: Two zooms.
    """

    share: Annotated[float, Range(0, 1, open_low=True)] = 0.5
    fold: Annotated[int | None, Range(0)] = None
    other: Annotated[int, Range(high=4)] | None = None
    zoom: Annotated[tuple[float, float], Range(0, 2, open_high=True)] = (0.5, 1.5)

    def __post_init__(self) -> None:
        check_ranges(self, (self.zoom[0] <= self.zoom[1], "zoom must rise"))


def test_ranges_are_shown_in_the_help() -> None:
    specs = {spec.name: spec for spec in fields_of(Ranged)}
    assert specs["share"].help == "A share (above 0 to 1)."
    assert specs["fold"].help == "A fold (0 or more)."
    assert specs["zoom"].help == "Two zooms (0 to below 2)."
    assert (specs["fold"].kind, specs["fold"].optional) == (int, True)
    assert (specs["other"].kind, specs["other"].optional) == (int, True)
    assert [str(Range(0, open_low=True)), str(Range(high=4))] == ["above 0", "at most 4"]
    assert str(Range(high=4, open_high=True)) == "below 4"

    @click.command()
    @config_flags(Ranged)
    def command(**flags: object) -> None: ...

    assert "A share (above 0 to 1)." in CliRunner().invoke(command, ["--help"]).output


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"share": 0}, "share is 0.0, expected above 0 to 1"),
        ({"share": "1.01"}, "share is 1.01, expected above 0 to 1"),
        ({"fold": -1}, "fold is -1, expected 0 or more"),
        ({"other": 5}, "other is 5, expected at most 4"),
        ({"zoom": [0.5, 2]}, "zoom is (0.5, 2.0), expected 0 to below 2"),
        ({"zoom": [1.5, 0.5]}, "zoom must rise"),
        ({"share": 2, "fold": -1, "sharp": 1}, "share is 2.0, expected above 0 to 1; fold is -1"),
    ],
)
def test_numbers_outside_their_range(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Ranged, values, source="command line")
    assert text in caught.value.message


def test_numbers_at_the_limits_of_their_range() -> None:
    values = {"share": 1, "fold": 0, "other": 4, "zoom": [0, 1.99]}
    config = from_mapping(Ranged, values, source="command line")
    assert (config.share, config.fold, config.other, config.zoom) == (1.0, 0, 4, (0.0, 1.99))
    assert from_mapping(Ranged, {}, source="command line") == Ranged()
