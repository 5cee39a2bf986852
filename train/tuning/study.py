"""A study that several processes share, and the trials in it.

    study = open_study(StudyPlace(file=Path("runs/tune/study.journal"), name="tune"), document)
    with next_trial(study, folder, trials=40) as claim: ...

A process holds a lock on the file of its trial. Where a trial counts as running and nobody holds
its lock, its process has died: the trial is failed, and its settings are trained on from its last
checkpoint under a new number. Only trials of this machine are examined.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trocar.contract.errors import ConfigError
from trocar.contract.text.words import first_line

if TYPE_CHECKING:
    import optuna

DOCUMENT = "trocar"
"""Attribute of a study: what it searches, by which studies of other settings are refused."""

FOLDER, HOST, WHY = "folder", "host", "why"
"""Attributes of a trial: its folder's name, its machine, and why it failed."""

_SURPLUS = "there were enough trials"


@dataclass(frozen=True, kw_only=True)
class StudyPlace:
    """Where a study is stored.

    Attributes:
        file: Journal file, which processes of one machine or network folder share.
        url: Database instead of the file, e.g. ``sqlite:///tune.db`` or ``postgresql://…``.
        name: Name of the study in it.
        prune: Whether trials that score below the median are stopped early.
    """

    file: Path
    url: str | None = None
    name: str
    prune: bool = True


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A trial that belongs to this process.

    Attributes:
        trial: Optuna's trial.
        folder: Folder of its run.
    """

    trial: optuna.trial.Trial
    folder: Path


def open_study(place: StudyPlace, document: Mapping[str, Any]) -> optuna.study.Study:
    """Opens the study, or makes it.

    Args:
        place: Where it is.
        document: What is searched, on what, with which fixed settings.

    Raises:
        ConfigError: The storage cannot be used, or the study there has other settings.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if place.prune:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    try:
        study = optuna.create_study(
            storage=_storage(place),
            study_name=place.name,
            direction="maximize",
            load_if_exists=True,
            # A trial that runs elsewhere counts as a bad one, so that two do not try the same.
            sampler=optuna.samplers.TPESampler(constant_liar=True),
            pruner=pruner,
        )
        known = study.user_attrs.get(DOCUMENT)
        if known is None:
            study.set_user_attr(DOCUMENT, dict(document))
            known = study.user_attrs[DOCUMENT]
    except Exception as error:
        # Every database has its own error classes; a driver may be missing too.
        raise ConfigError(
            f"the storage of the study cannot be used: {type(error).__name__}: {first_line(error)}",
            remedy="correct --storage (e.g. sqlite:///tune.db), or leave it out for a file in "
            "--out",
        ) from error
    faults = [
        f"{name} was {_short(known.get(name))}, is {_short(document.get(name))}"
        for name in sorted(known.keys() | document.keys())
        if known.get(name) != document.get(name)
    ]
    if faults:
        raise ConfigError(
            f"the study {place.name} is of other settings: " + "; ".join(faults),
            remedy="call it with the settings of the study, or choose another --out or --study",
        )
    return study


@contextlib.contextmanager
def next_trial(study: optuna.study.Study, folder: Path, *, trials: int) -> Iterator[Claim | None]:
    """Takes the next trial for the time of the block; ``None`` where there are enough.

    Args:
        study: The study.
        folder: Folder of the runs of all trials.
        trials: Number of trials of the whole study; failed ones do not count.
    """
    import optuna

    state = optuna.trial.TrialState
    folder.mkdir(parents=True, exist_ok=True)
    _take_over_dead(study, folder)
    counted = (state.COMPLETE, state.PRUNED, state.RUNNING)
    found = study.get_trials(deepcopy=False)
    waiting = any(one.state == state.WAITING for one in found)
    if not waiting and sum(one.state in counted for one in found) >= trials:
        yield None
        return
    trial = study.ask()
    name = str(trial.user_attrs.get(FOLDER, f"{trial.number:04d}"))
    with _lock(folder / f"{name}.lock", wait=True):
        trial.set_user_attr(FOLDER, name)
        trial.set_user_attr(HOST, socket.gethostname())
        # Another process may have asked in the same moment: the later numbers give way.
        earlier = [one for one in study.get_trials(deepcopy=False) if one.number < trial.number]
        if sum(one.state in counted for one in earlier) >= trials:
            fail(study, trial, _SURPLUS)
            yield None
            return
        yield Claim(trial=trial, folder=folder / name)


def fail(study: optuna.study.Study, trial: optuna.trial.Trial, why: str) -> None:
    """Marks a trial as failed, with its reason."""
    import optuna

    trial.set_user_attr(WHY, why)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _take_over_dead(study: optuna.study.Study, folder: Path) -> None:
    """Fails the trials of processes that died, and queues their settings again."""
    import optuna

    running = optuna.trial.TrialState.RUNNING
    for one in study.get_trials(deepcopy=False, states=(running,)):
        name = one.user_attrs.get(FOLDER)
        if name is None or one.user_attrs.get(HOST) != socket.gethostname():
            continue
        with _lock(folder / f"{name}.lock", wait=False) as held:
            # While the lock was waited for, another process may have done it.
            now = study.get_trials(deepcopy=False)[one.number]
            if held and now.state == running:
                study.tell(one.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(dict(one.params), user_attrs={FOLDER: name})


def _storage(place: StudyPlace) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if place.url is not None:
        return place.url
    place.file.parent.mkdir(parents=True, exist_ok=True)
    text = str(place.file)
    return JournalStorage(JournalFileBackend(text, lock_obj=JournalFileOpenLock(text)))


@contextlib.contextmanager
def _lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds a lock that ends with the process; gives whether it is held."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:200]}…"
