"""Trains one method from settings: recipe, flags, data and the run's folder.

run_method("supervised", data=Path("data"), out=Path("runs/first"), flags={})
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar.contract.config import fields_of, from_mapping, to_mapping, unknown
from trocar.contract.errors import ConfigError
from trocar.contract.toml import read_toml
from trocar.train.methods import find_method

if TYPE_CHECKING:
    pass


def run_method(name: str, *, data: Path, out: Path, flags: dict[str, Any]) -> dict[str, Any]:
    """Trains as the command line says; what ``metrics.json`` holds comes back.

    Args:
        name: The method.
        data: Labelled set.
        out: Folder of the run.
        flags: By name as the command has them; ``None`` means not given.
    """
    from trocar.train.data.config import DataConfig, DatasetPaths
    from trocar.train.data.open import open_data, training_fingerprint
    from trocar.train.loop import train as run_loop
    from trocar.train.state.job import Job
    from trocar.train.state.run_folder import CONFIG, RunFolder
    from trocar.train.state.settings import RunConfig

    resume = bool(flags.get("resume"))
    RunFolder(out).check(resume=resume or not _is_first_process())
    recipe = flags.get("recipe")
    if resume and (out / CONFIG).is_file():
        recipe = out / CONFIG
    kind = find_method(name)
    settings = read_settings(
        (kind.Config, DataConfig, RunConfig), recipe=recipe, flags=flags, method=name
    )
    method = kind(settings[0])
    paths = DatasetPaths(data=data, **{n: flags.get(n) for n in ("unlabelled", "target", "validation")})
    sets = open_data(paths, settings[1], settings[2], method)
    if _is_first_process():
        for note in sets.labelled.notes:  # e.g. which groups validate
            click.echo(f"note: {note}", err=True)
    return run_loop(
        Job(
            method=method,
            run=settings[2],
            data=sets,
            name=flags.get("name") or out.resolve().name,
            out=out,
            resume=resume,
            command=shlex.join(["trocar", *sys.argv[1:]]),
            source={
                "data": {n: str(p) for n, p in vars(paths).items() if p is not None},
                "trained_on": training_fingerprint(sets),
            },
            extra=to_mapping(settings[1]),
        )
    )


def read_settings(
    kinds: tuple[type, ...], *, recipe: Path | None, flags: dict[str, Any], method: str
) -> tuple[Any, ...]:
    """Settings of several dataclasses from one flat recipe and flags, which win.

    Raises:
        ConfigError: Every unknown name, ill-typed or out-of-range value, of all of them at once.
    """
    known = {spec.name for kind in kinds for spec in fields_of(kind)}
    values = dict(read_toml(recipe)) if recipe else {}
    faults = []
    stated = values.pop("method", method)
    if stated != method:
        faults.append(f"it is a recipe for {stated}, not for {method}")
    faults += [unknown(name, known) for name in values if name not in known]
    values |= {name: v for name, v in flags.items() if name in known and v is not None}
    made: list[Any] = []
    for kind in kinds:
        own = {spec.name for spec in fields_of(kind)}
        try:
            made.append(
                from_mapping(kind, {n: v for n, v in values.items() if n in own}, source="settings")
            )
        except ConfigError as error:
            faults.append(error.message.removeprefix("settings: "))
    if faults:
        source = str(recipe) if recipe else "command line"
        raise ConfigError(f"{source}: " + "; ".join(faults), remedy="mend the named values")
    return tuple(made)


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
