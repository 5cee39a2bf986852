"""Search for good settings of a recipe, with several processes if you like.

trocar tune supervised theatre/ --trials 40 --out runs/tune --set steps=1000
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from trocar.commands._help import GroupedCommand, grouped
from trocar.commands.compare import overrides
from trocar.contract.errors import ConfigError

_PATH = click.Path(path_type=Path)


@click.command(cls=GroupedCommand)
@click.argument("recipe")
@click.argument("data", type=_PATH)
@grouped(
    "Study",
    click.option(
        "--trials",
        type=click.IntRange(1),
        required=True,
        help="Trials of the whole study, over all processes and calls.",
    ),
    click.option("--out", type=_PATH, required=True, help="Folder of the study and its runs."),
    click.option(
        "--storage",
        metavar="URL",
        help="Database, e.g. sqlite:///tune.db. [default: a file in --out]",
    ),
    click.option("--study", metavar="NAME", help="Name of the study. [default: the name of --out]"),
    click.option("--prune/--no-prune", default=True, help="Stop trials below the median early."),
)
@grouped(
    "Settings",
    click.option(
        "--search",
        multiple=True,
        metavar="NAME=RANGE",
        help="LOW:HIGH, LOW:HIGH:log, or choices A,B,C; wins over [search] of the recipe. "
        "Can be repeated. [default: lr and weight_decay]",
    ),
    click.option(
        "--set",
        "given",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of all trials, e.g. steps=1000. Can be repeated.",
    ),
)
@grouped(
    "Data",
    click.option("--unlabelled", type=_PATH, help="Frames without labels, where methods use them."),
    click.option("--target", type=_PATH, help="Frames of the target domain, likewise."),
    click.option("--validation", type=_PATH, help="Labelled set to score on instead."),
)  # fmt: skip
def tune(
    recipe: str,
    data: Path,
    trials: int,
    out: Path,
    storage: str | None,
    study: str | None,
    prune: bool,
    search: tuple[str, ...],
    given: tuple[str, ...],
    **sets: Any,
) -> None:
    """Search for good settings of a recipe, with several processes if you like.

    RECIPE is a TOML file, or the name of one that comes with Trocar. Each trial is one training
    run, scored on validation frames. Call the same command in several processes to share the
    study, and again to continue it.
    """
    from trocar.train.tuning.tune import TuneRequest
    from trocar.train.tuning.tune import tune as search_settings

    outcome = search_settings(
        TuneRequest(
            recipe=recipe,
            data=data,
            out=out,
            trials=trials,
            search=_searched(search),
            settings=overrides(given),
            storage=storage,
            study=study,
            prune=prune,
            command=_command(storage),
            **sets,
        ),
        say=lambda text: click.echo(text, err=True),
    )
    if outcome.best is None:
        raise ConfigError(
            "no trial is complete yet", remedy="wait for the other processes, or raise --trials"
        )
    click.echo((out / "tune.md").read_text(encoding="utf-8"))


def _searched(texts: tuple[str, ...]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise ConfigError(
            f"--search {wrong[0]!r} has no range", remedy="e.g. --search lr=1e-4:1e-2:log"
        )
    pairs = (text.split("=", 1) for text in texts)
    return {name.strip().replace("-", "_"): value.strip() for name, value in pairs}


def _command(storage: str | None) -> str:
    """The command line without the address of a database, which may hold a password."""
    hidden = [word.replace(storage, "***") if storage else word for word in sys.argv[1:]]
    return shlex.join(["trocar", *hidden])
