"""Trains one recipe with many settings, and finds the best by its score on validation frames.

    outcome = tune(TuneRequest(recipe="supervised", data=Path("theatre"), out=Path("runs/tune"),
                               trials=40))
    print(outcome.best.settings)

Call it in several processes with the same ``out`` to share the work. Test frames are never read:
a run trains on the split ``train`` and is scored on ``val``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trocar.contract.config import fields_of, to_mapping
from trocar.contract.errors import ConfigError, DataError, TrainingError, TrocarError
from trocar.contract.text.toml import read_toml
from trocar.train.data.config import DataConfig
from trocar.train.data.readers import open_frames
from trocar.train.methods import find_method
from trocar.train.methods.protocol import accepted_data
from trocar.train.recipes import recipe_path
from trocar.train.run import TrainRequest, convert_settings, data_settings, run_method
from trocar.train.state.checkpoint import BEST, LAST
from trocar.train.state.run_folder import RunFolder
from trocar.train.state.settings import RunConfig
from trocar.train.tuning.report import Outcome, outcome_of, write_report
from trocar.train.tuning.space import Space, read_space
from trocar.train.tuning.study import Claim, StudyPlace, fail, next_trial, open_study

MOST_FAILURES = 3
"""Failed trials one after the other with which a process gives up."""

Train = Callable[[TrainRequest], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What to search.

    Attributes:
        recipe: A TOML file, or the name of one that comes with Trocar. Its table ``search`` says
            what is searched.
        data: Labelled set.
        out: Folder of the study: its file, the runs, the report.
        trials: Trials of the whole study, over all processes and calls.
        unlabelled: Frames without labels, where the method takes them.
        target: Frames of the target domain, where the method takes them.
        validation: Labelled set to score on instead of the labelled set's own split.
        search: Ranges and choices by setting; they win over those of the recipe.
        settings: Fixed settings by name; they win over those of the recipe.
        storage: Database URL; ``None`` for a file in ``out``.
        study: Name of the study; ``None`` for the folder's name.
        prune: Whether bad trials are stopped early.
        command: The command line, kept in the runs.
    """

    recipe: str | Path
    data: Path
    out: Path
    trials: int
    unlabelled: Path | None = None
    target: Path | None = None
    validation: Path | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    storage: str | None = None
    study: str | None = None
    prune: bool = True
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request whose settings were checked.

    Attributes:
        method: Command name of the method.
        monitor: The score that is searched for, the higher the better.
        fixed: Settings of all trials.
        space: Settings that are searched.
    """

    method: str
    monitor: str
    fixed: Mapping[str, Any]
    space: Space


def tune(
    request: TuneRequest, *, train: Train = run_method, say: Callable[[str], None] = print
) -> Outcome:
    """Makes trials until the study has enough, and writes the report.

    Args:
        request: What to search.
        train: Trains one run.
        say: Takes a line about each trial.

    Returns:
        All trials of the study.

    Raises:
        ConfigError: Wrong settings, a study of other settings, or a storage that cannot be used.
        DataError: The validation set holds test frames only, or a data set is at fault.
        TrainingError: Several trials failed one after the other.
        InterruptedByUserError: Ctrl-C; the trial goes on with the next call.
    """
    plan = plan_of(request)
    _check_validation(request.validation)
    place = StudyPlace(
        file=request.out / "study.journal",
        url=request.storage,
        name=request.study or request.out.resolve().name,
        prune=request.prune,
    )
    document = {
        "method": plan.method,
        "settings": dict(plan.fixed),
        "search": plan.space.to_dict(),
        "monitor": plan.monitor,
        "data": {
            name: _digest(path)
            for name in ("data", "unlabelled", "target", "validation")
            if (path := getattr(request, name)) is not None
        },
    }
    study = open_study(place, document)
    failures: list[TrocarError] = []
    while True:
        with next_trial(study, request.out / "trials", trials=request.trials) as claim:
            if claim is None:
                break
            error = _run_trial(study, claim, plan, request, train=train, say=say)
        failures = [*failures, error] if error is not None else []
        if len(failures) >= MOST_FAILURES:
            raise TrainingError(
                f"{len(failures)} trials failed one after the other; the last: "
                f"{failures[-1].message}",
                remedy=failures[-1].remedy or "correct the recipe or the search",
            ) from failures[-1]
        _write(request, plan, study)
    return _write(request, plan, study)


def plan_of(request: TuneRequest) -> Plan:
    """Reads the recipe and checks both ends of every range and every choice.

    Raises:
        ConfigError: Wrong settings, all at once.
        DataError: The recipe cannot be read.
    """
    path = recipe_path(request.recipe)
    values = dict(read_toml(path))
    search = {**_search_table(values.pop("search", {}), path), **request.search}
    method = values.pop("method", None)
    if not isinstance(method, str):
        raise ConfigError(f"{path} names no method", remedy='write method = "supervised" in it')
    kind = find_method(method)
    kinds = (kind.Config, DataConfig, RunConfig)
    unused = {spec for spec in search if spec in _data_names() - set(data_settings(kind))}
    if unused:
        raise ConfigError(
            f"search: {', '.join(sorted(unused))} has no effect on {method}",
            remedy="leave it out of the search",
        )
    space = read_space(search, kinds)
    fixed = {n: v for n, v in {**values, **request.settings}.items() if n not in search}
    if int(fixed.get("devices", 1)) > 1 or int(fixed.get("nodes", 1)) > 1:
        raise ConfigError(
            "a trial trains in one process, got devices or nodes above 1",
            remedy="start one `trocar tune` for each device instead",
        )
    configs = convert_settings(kinds, fixed, method=method, source=str(path))
    # Texts of flags and values of recipes become the same, so that studies can be compared.
    plain = {name: value for config in configs for name, value in to_mapping(config).items()}
    fixed = {name: plain.get(name, value) for name, value in fixed.items()}
    for parameter in space.parameters:
        for value in parameter.extremes:
            tried = {**fixed, parameter.name: value}
            convert_settings(kinds, tried, method=method, source=f"search of {parameter.name}")
    return Plan(method=method, monitor=kind.monitor, fixed=fixed, space=space)


def _run_trial(
    study: Any, claim: Claim, plan: Plan, request: TuneRequest, *, train: Train,
    say: Callable[[str], None],
) -> TrocarError | None:  # fmt: skip
    """Trains one trial to its end; gives the error with which it failed."""
    import optuna

    trial = claim.trial
    chosen = plan.space.suggest(trial)
    accepted = accepted_data(find_method(plan.method))
    resume = (claim.folder / LAST).is_file()
    seen = 0
    if resume:
        seen = sum("scores" in line for line in RunFolder(claim.folder).history())

    def observe(scores: Mapping[str, float]) -> None:
        nonlocal seen
        seen += 1
        value = scores.get(plan.monitor)
        if value is not None and value == value:
            trial.report(float(value), seen)
            if request.prune and trial.should_prune():
                raise optuna.TrialPruned

    say(f"trial {trial.number}{' (resumed)' if resume else ''}: {_words(chosen)}")
    try:
        metrics = train(
            TrainRequest(
                method=plan.method,
                data=request.data,
                out=claim.folder,
                unlabelled=request.unlabelled if "unlabelled" in accepted else None,
                target=request.target if "target" in accepted else None,
                validation=request.validation,
                settings={} if resume else {**plan.fixed, **chosen},
                resume=claim.folder.exists(),
                command=request.command,
                observe=observe,
            )
        )
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        _remove(claim.folder, BEST, LAST)
        say(f"trial {trial.number}: stopped early, its score is below the median")
        return None
    except (ConfigError, DataError, TrainingError) as error:
        fail(study, trial, error.message)
        say(f"trial {trial.number}: failed, {error.message}")
        return error
    score = (metrics["best"].get("scores") or {}).get(plan.monitor)
    if score is None:
        lacking = TrainingError(
            f"the run has no score {plan.monitor}", remedy="look at the validation frames"
        )
        fail(study, trial, lacking.message)
        return lacking
    study.tell(trial, float(score))
    _remove(claim.folder, LAST)
    say(f"trial {trial.number}: {plan.monitor} {float(score):.4f}")
    return None


def _write(request: TuneRequest, plan: Plan, study: Any) -> Outcome:
    outcome = outcome_of(
        study.get_trials(deepcopy=False),
        method=plan.method,
        monitor=plan.monitor,
        fixed=plan.fixed,
        space=plan.space,
    )
    write_report(outcome, request.out)
    return outcome


def _search_table(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(
            f"search in {path} is {value!r}, expected a table",
            remedy='write [search] and lines such as lr = "1e-4:1e-2:log"',
        )
    return value


def _data_names() -> set[str]:
    return {spec.name for spec in fields_of(DataConfig)}


def _check_validation(path: Path | None) -> None:
    """Refuses a set to score on whose frames are all of its split ``test``."""
    if path is None:
        return
    splits = open_frames(path).splits
    if splits.get("test") and not splits.get("val") and not splits.get("train"):
        raise DataError(
            f"all frames of {path} that have a split are of the split 'test'",
            remedy="score on other frames: settings that were chosen on test frames make the "
            "scores on them worthless",
        )


def _digest(path: Path) -> str:
    """Names and sizes of all files of a set, wherever it lies.

    Raises:
        DataError: There is no such set.
    """
    if not path.exists():
        raise DataError(f"there is no {path}", remedy="check the path")
    made = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        made.update(f"{name}\0{file.stat().st_size}\n".encode())
    return made.hexdigest()[:16]


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
    )
