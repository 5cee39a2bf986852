"""Flags that say what is done over several frames, for ``trocar run``.

options = temporal_options(flags)     # the values of a command with `temporal_flags`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from trocar.commands._help import grouped
from trocar.contract.errors import ConfigError
from trocar.runtime.pipeline.options import TemporalOptions
from trocar.runtime.temporal.options import PersistenceOptions, TrackOptions

F = TypeVar("F", bound=Callable[..., Any])

_TRACK, _PERSISTENCE = TrackOptions(), PersistenceOptions()
_FLAGS = ("max_lost", "no_class_vote", "floating", "enter_score", "exit_score", "no_smoothing")


def temporal_flags(function: F) -> F:
    """Adds the flags."""
    return grouped(
        "Over time",
        click.option(
            "--max-lost",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            help="Time out of sight after which an instrument gets a new number. "
            f"[default: {_TRACK.max_lost_s:g}]",
        ),
        click.option(
            "--no-class-vote",
            is_flag=True,
            help="Report the class of each frame, not the most frequent one of the track.",
        ),
        click.option(
            "--floating",
            type=click.FloatRange(0),
            metavar="SECONDS",
            help="Time that a region which touches nothing is seen before it is reported; 0: at "
            f"once. [default: {_PERSISTENCE.floating_s:g}]",
        ),
        click.option(
            "--enter-score",
            type=click.FloatRange(0, 1),
            metavar="X",
            help="Mean score from which on an instrument is reported; 0: any. "
            f"[default: {_PERSISTENCE.enter_score:g}]",
        ),
        click.option(
            "--exit-score",
            type=click.FloatRange(0, 1),
            metavar="X",
            help="Mean score below which it is no longer reported. "
            f"[default: {_PERSISTENCE.hysteresis:g} below --enter-score]",
        ),
        click.option("--no-smoothing", is_flag=True, help="No smoothing of live masks."),
    )(function)


def temporal_options(flags: Mapping[str, Any]) -> TemporalOptions:
    """The options for click's values.

    Raises:
        ConfigError: Flags that contradict each other.
    """
    # Not by value: 0 is a value too, and equal to False.
    names = [name for name in _FLAGS if flags[name] is not None and flags[name] is not False]
    given = ["--" + name.replace("_", "-") for name in names]
    if flags["no_postprocess"] and given:
        raise ConfigError(
            f"--no-postprocess switches off what {', '.join(given)} set",
            remedy="leave one of them out",
        )

    def value(name: str, default: float) -> float:
        return default if flags[name] is None else float(flags[name])

    strict = flags["enter_score"] is not None or flags["exit_score"] is not None
    return TemporalOptions(
        tracks=TrackOptions(
            max_lost_s=value("max_lost", _TRACK.max_lost_s), vote=not flags["no_class_vote"]
        ),
        persistence=PersistenceOptions(
            floating_s=value("floating", _PERSISTENCE.floating_s),
            enter_score=value("enter_score", _PERSISTENCE.enter_score),
            exit_score=flags["exit_score"],
            # Scores that are set are strict.
            relative_score=_PERSISTENCE.relative_score if not strict else 0.0,
        ),
        smooth=not flags["no_smoothing"],
    )
