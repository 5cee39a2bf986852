"""Trains one method from settings: a recipe, single settings, data sets and a folder to write to.

run_method(TrainRequest(method="supervised", data=Path("data"), out=Path("runs/first")))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trocar.contract.config import fields_of, from_mapping, to_mapping, unknown
from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import blamed
from trocar.contract.text.licences import LICENCES, licences_of
from trocar.contract.text.toml import read_toml
from trocar.train.methods import find_method, plug_in_of

if TYPE_CHECKING:
    from trocar.train.methods.protocol import Method, TrainData

_USED_BY_PHOTOGRAPHS = frozenset({"val_share", "label_share"})


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, on what, and where to.

    Attributes:
        method: Command name of the method.
        data: Labelled set.
        out: Folder of the run.
        unlabelled: Frames without labels, where the method takes them.
        target: Frames of the target domain, where the method takes them.
        validation: Labelled set to validate on instead of the labelled set's own split.
        name: Model name for people; ``None`` takes the folder's name.
        recipe: Flat TOML file of settings.
        settings: Settings of method, data and loop by name; they win over the recipe. Texts are
            converted to the type of the setting.
        resume: Continues from the last checkpoint in ``out``, with the settings of that run; with
            another number of steps in ``settings`` it trains longer.
        start_from: Run folder or checkpoint whose network is the starting point.
        command: The command line, kept in the run's folder and in checkpoints.
        observe: Called with the scores of every evaluation; an error that it raises ends the run.
    """

    method: str
    data: Path
    out: Path
    unlabelled: Path | None = None
    target: Path | None = None
    validation: Path | None = None
    name: str | None = None
    recipe: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    start_from: Path | None = None
    command: str = ""
    observe: Callable[[Mapping[str, float]], None] | None = None


def run_method(request: TrainRequest) -> dict[str, Any]:
    """Trains as requested.

    Returns:
        What ``metrics.json`` holds, see `trocar.train.loop.train`.

    Raises:
        ConfigError: Wrong settings, all at once, data sets that the method does not take, or a
            fault of the plug-in that adds the method.
        DataError: A data set is at fault.
        TrocarError: See `trocar.train.loop.train`.
    """
    with blamed(plug_in_of(request.method)):
        return _run_method(request)


def _run_method(request: TrainRequest) -> dict[str, Any]:
    from trocar.train.data.config import DataConfig, DatasetPaths
    from trocar.train.data.leakage import merged
    from trocar.train.data.open import open_data, training_fingerprint
    from trocar.train.licences import run_licences
    from trocar.train.loop import train as run_loop
    from trocar.train.methods.protocol import LearnsFromTeacher
    from trocar.train.state.job import Job
    from trocar.train.state.run_folder import CONFIG, RunFolder
    from trocar.train.state.settings import RunConfig
    from trocar.train.state.start_from import normalisation_of, read_start

    out = request.out
    if request.resume and request.start_from is not None:
        raise ConfigError(
            "--start-from and --resume exclude each other: a run that resumes has its own weights",
            remedy="drop --start-from to go on with this run, or --resume and choose a new --out",
        )
    RunFolder(out).check(resume=request.resume or not is_main_process())
    start = None if request.start_from is None else read_start(request.start_from)
    method_class = find_method(request.method)
    kinds = (method_class.Config, DataConfig, RunConfig)
    if request.resume and (out / CONFIG).is_file():
        stored = settings_of_run(out / CONFIG, method_class)
        if "steps" in request.settings and "epochs" not in request.settings:
            stored["epochs"] = 0
        config, data_config, run = convert_settings(
            kinds, {**stored, **request.settings}, method=request.method, source=str(out / CONFIG)
        )
    else:
        config, data_config, run = read_settings(
            kinds,
            recipe=request.recipe,
            flags=request.settings,
            method=request.method,
            inherited={} if start is None else normalisation_of(start.config, method_class.Config),
        )
    method = method_class(config)
    if request.observe is not None:
        method = _observed(method, request.observe)
    paths = DatasetPaths(
        data=request.data,
        unlabelled=request.unlabelled,
        target=request.target,
        validation=request.validation,
    )
    teacher = method.teacher_origin() if isinstance(method, LearnsFromTeacher) else {}
    sets = open_data(paths, data_config, run, method)
    inherited = None if start is None else licences_of(start.origin)
    licences, remarks = run_licences(config, run, data=paths.data, inherited=inherited)
    method.notes += remarks
    used = data_settings(method_class)
    extra = {n: v for n, v in to_mapping(data_config).items() if n in used}
    return run_loop(
        Job(
            method=method,
            run=run,
            data=sets,
            name=request.name or out.resolve().name,
            out=out,
            resume=request.resume,
            start=start,
            command=request.command,
            source={
                "data": {n: str(p) for n, p in vars(paths).items() if p is not None},
                "trained_on": merged(
                    [
                        training_fingerprint(sets),
                        "" if start is None else start.trained_on,
                        str(teacher.get("trained_on", "")),
                    ]
                ),
                **({"teacher": dict(teacher)} if teacher else {}),
                **({} if start is None else {"started_from": dict(start.origin)}),
                "data_settings": extra,
                **({LICENCES: licences} if licences else {}),
            },
            extra=extra,
        )
    )


def _observed(method: Method, observe: Callable[[Mapping[str, float]], None]) -> Method:
    """The method, whose `evaluate` also tells its scores."""
    evaluate = method.evaluate

    def told(data: TrainData) -> dict[str, float]:
        scores = evaluate(data)
        observe(scores)
        return scores

    method.evaluate = told  # type: ignore[method-assign]
    return method


def data_settings(method: type[Method]) -> tuple[str, ...]:
    """Names of the data settings that a method uses, by its task.

    Sets of photographs are only split; what is done to frames and masks does not apply to them.
    """
    from trocar.train.data.config import DataConfig

    names = tuple(spec.name for spec in fields_of(DataConfig))
    if method.task == "classification":
        return tuple(name for name in names if name in _USED_BY_PHOTOGRAPHS)
    return names


def read_settings(
    kinds: tuple[type, ...],
    *,
    recipe: Path | None,
    flags: Mapping[str, Any],
    method: str,
    inherited: Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Settings of several dataclasses from one flat recipe and flags, which win.

    Args:
        kinds: The dataclasses.
        recipe: A flat TOML file, or ``None``.
        flags: Settings by name; ``None`` means not given.
        method: The method that the settings are for.
        inherited: Settings that hold where neither recipe nor flags have them.

    Raises:
        ConfigError: Every unknown, unused, ill-typed or out-of-range value, of all of them at once.
        DataError: The recipe cannot be read.
    """
    values = {**(inherited or {}), **(read_toml(recipe) if recipe else {})}
    source = str(recipe) if recipe else "command line"
    faults = []
    stated = values.pop("method", method)
    if stated != method:
        faults.append(f"it is a recipe for {stated}, not for {method}")
    values |= {name: value for name, value in flags.items() if value is not None}
    return convert_settings(kinds, values, method=method, source=source, faults=faults)


def convert_settings(
    kinds: tuple[type, ...],
    values: Mapping[str, Any],
    *,
    method: str,
    source: str,
    faults: list[str] | None = None,
) -> tuple[Any, ...]:
    """Settings of several dataclasses from values by name.

    Args:
        kinds: The dataclasses.
        values: Values by name.
        method: The method that the settings are for.
        source: Where they come from, for messages.
        faults: What is known to be wrong already.

    Raises:
        ConfigError: Every fault at once.
    """
    faults = list(faults or ())
    values = dict(values)
    if isinstance(values.get("size"), str):  # could mean either order
        faults.append(f"size: got {values.pop('size')!r}, expected a list, [height, width]")
    fields = {kind: {spec.name for spec in fields_of(kind)} for kind in kinds}
    known = set().union(*fields.values())
    unused = _unused_settings(method)
    faults += [unknown(name, known - unused) for name in values if name not in known | unused]
    faults += [
        f"{name} has no effect on {method}, which trains on photographs"
        for name in values
        if name in unused
    ]
    converted: list[Any] = []
    for kind, names in fields.items():
        chosen = {name: value for name, value in values.items() if name in names - unused}
        try:
            converted.append(from_mapping(kind, chosen, source="settings"))
        except ConfigError as error:
            faults.append(error.message.removeprefix("settings: "))
    if faults:
        raise ConfigError(f"{source}: " + "; ".join(faults), remedy="correct the named settings")
    return tuple(converted)


def settings_of_run(config: Path, method: type[Method]) -> dict[str, Any]:
    """The settings in a run's ``config.toml`` under today's names, without those of no effect.

    Raises:
        ConfigError: The run is of another method.
        DataError: The file cannot be read.
    """
    from trocar.train.state.stored_settings import (
        NEW_WITH_EFFECT,
        UNSTATED_DATA_SETTINGS,
        current_settings,
    )

    values = dict(read_toml(config))
    stated = values.pop("method", method.name)
    if stated != method.name:
        raise ConfigError(
            f"{config} is of method {stated}, not {method.name}",
            remedy=f"resume it with `trocar train {stated}`, or choose another --out",
        )
    unused = _unused_settings(method.name)
    values = current_settings(method.name, values)
    if not NEW_WITH_EFFECT.keys() & values.keys():
        values = {**NEW_WITH_EFFECT, **values}
    values = {**UNSTATED_DATA_SETTINGS, **values}
    return {name: value for name, value in values.items() if name not in unused}


def is_main_process() -> bool:
    """Whether this is the first of the processes that a launcher started, or the only one."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def _unused_settings(method: str) -> set[str]:
    from trocar.train.data.config import DataConfig

    names = {spec.name for spec in fields_of(DataConfig)}
    return names - set(data_settings(find_method(method)))
