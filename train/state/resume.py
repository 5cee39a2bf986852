"""Stop signals, and the checks before a run resumes.

with stop_signals() as stopped:
    if stopped():
        save(training, training.folder.last)
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

from trocar.contract.config import to_mapping
from trocar.contract.errors import CheckpointError
from trocar.train.data.classification.open import VALIDATE
from trocar.train.data.classification.sample import PhotoSet
from trocar.train.data.config import DataConfig
from trocar.train.data.leakage import changed_frames, merged
from trocar.train.data.open import trained_sets
from trocar.train.data.sample import FrameSet
from trocar.train.methods.protocol import Method, ModelSpec
from trocar.train.state.checkpoint import Checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import AUTO, FREE_TO_CHANGE, RunConfig
from trocar.train.state.stored_settings import UNSTATED_DATA_SETTINGS, with_defaults


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C or SIGTERM came; the second one acts at once.

    Outside the main thread, where Python receives no signals, it always says no.
    """
    asked = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def check_same(checkpoint: Checkpoint, method: Method, run: RunConfig, spec: ModelSpec) -> None:
    """Refuses to resume with other settings than the run was started with.

    Raises:
        CheckpointError: Method, classes or a setting differ; all of them are named.
    """
    faults = []
    if checkpoint.method != method.name:
        faults.append(f"method was {checkpoint.method}, is {method.name}")
    if checkpoint.spec.classes != spec.classes:
        faults.append(
            f"classes were {', '.join(checkpoint.spec.classes.names)}; "
            f"the data now have {', '.join(spec.classes.names)}"
        )
    faults += _differences(
        with_defaults(type(method.config), checkpoint.config), to_mapping(method.config)
    )
    if run.steps < checkpoint.step:
        faults.append(f"steps is {run.steps}, but {checkpoint.step} steps are done")
    faults += _differences(with_defaults(RunConfig, checkpoint.run), to_mapping(run))
    if faults:
        raise CheckpointError(
            "cannot resume with other settings: " + "; ".join(faults),
            remedy="drop these flags (config.toml is used), or start a new run in another --out",
        )


def check_same_data(checkpoint: Checkpoint, job: Job) -> None:
    """Refuses to resume on other data than the run was started with.

    Where the sets lie does not matter, their frames and photographs do.

    Raises:
        CheckpointError: Frames, the validation set or a setting of the data differ; all are named.
    """
    was, now = checkpoint.source, job.source
    faults = []
    recorded = str(was.get("trained_on", ""))
    sets = trained_sets(job.data)
    # Only runs of the command line know where their data lay; those of today have a record too.
    if was.get("data") and not recorded and any(map(_was_split, sets)):
        faults.append(
            "the release that the run was started with kept no record of its photographs, and "
            "chose those that validate in another way"
        )
    if recorded and sets:
        added, removed = changed_frames(sets, recorded, earlier=_earlier_frames(checkpoint))
        if added or removed:
            faults.append(
                f"{added} of the {sum(map(len, sets))} training frames are new to the run"
                if added
                else "frames that the run was trained on are missing now"
            )
    paths, paths_now = dict(was.get("data", {})), dict(now.get("data", {}))
    names = ("validation",) if recorded else ("data", "validation")
    if paths:
        faults += [
            f"{name} was {paths.get(name)}, is {paths_now.get(name)}"
            for name in names
            if paths.get(name) != paths_now.get(name)
        ]
    settings = was.get("data_settings")
    if settings is not None:
        settings_now = dict(now.get("data_settings", {}))
        used = settings.keys() | settings_now.keys()
        stated = with_defaults(DataConfig, {**UNSTATED_DATA_SETTINGS, **settings})
        faults += _differences({n: v for n, v in stated.items() if n in used}, settings_now)
    teachers = [dict(source.get("teacher", {})).get("sha256") for source in (was, now)]
    if teachers[0] != teachers[1]:
        faults.append(f"the teacher's SHA-256 was {teachers[0]}, is {teachers[1]}")
    if faults:
        raise CheckpointError(
            "cannot resume on other data: " + "; ".join(faults),
            remedy="drop these flags and restore the sets; to train on other data, start a new run "
            "with --start-from this one",
        )


def with_origin(job: Job, checkpoint: Checkpoint) -> Job:
    """The job of a resumed run, with the record of the run that it once started from."""
    started = checkpoint.source.get("started_from")
    if started is None:
        return job
    own = str(job.source.get("trained_on", ""))
    trained_on = merged([own, _earlier_frames(checkpoint)])
    return replace(job, source={**job.source, "trained_on": trained_on, "started_from": started})


def _was_split(one: FrameSet | PhotoSet) -> bool:
    """Whether Trocar chose the photographs that validate."""
    return isinstance(one, PhotoSet) and any(VALIDATE in note for note in one.notes)


def _earlier_frames(checkpoint: Checkpoint) -> str:
    """Record of the frames of the run that it started from, and of its teacher."""
    origins = [dict(checkpoint.source.get(name, {})) for name in ("started_from", "teacher")]
    return merged(str(origin.get("trained_on", "")) for origin in origins)


def with_choices(run: RunConfig, checkpoint: Checkpoint) -> RunConfig:
    """What a resumed run leaves open is as the run chose it at its beginning; nothing is measured.

    A run of a release that measured nothing was in fp32 and contiguous where it says nothing.
    """
    stored = checkpoint.run
    if run.channels_last is None:
        run = replace(run, channels_last=bool(stored.get("channels_last", False)))
    if run.precision == AUTO:
        run = replace(run, precision=stored.get("precision", "fp32"))
    return run


def extension_note(checkpoint: Checkpoint, run: RunConfig) -> list[str]:
    """What a resumed run of another length says; nothing where the length is as before."""
    before = checkpoint.run.get("steps")
    if before == run.steps:
        return []
    done = checkpoint.step
    return [
        f"steps was {before}, is {run.steps}; {done} are done, and the learning rate goes on from "
        f"{run.rate(done):.3g}, by the schedule of {run.steps} steps"
    ]


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted((was.keys() | now.keys()) - FREE_TO_CHANGE)
    return [
        f"{name} was {was.get(name)}, is {now.get(name)}"
        for name in names
        if was.get(name) != now.get(name)
    ]
