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
from types import FrameType
from typing import Any

from trocar.contract.config import to_mapping
from trocar.contract.errors import CheckpointError
from trocar.train.methods.protocol import Method, ModelSpec
from trocar.train.state.checkpoint import Checkpoint
from trocar.train.state.settings import FREE_TO_CHANGE, RunConfig


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
    faults += _differences(checkpoint.config, to_mapping(method.config))
    faults += _differences(checkpoint.run, to_mapping(run))
    if faults:
        raise CheckpointError(
            "cannot resume with other settings: " + "; ".join(faults),
            remedy="drop these flags (config.toml is used), or start a new run in another --out",
        )


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted((was.keys() | now.keys()) - FREE_TO_CHANGE)
    return [
        f"{name} was {was.get(name)}, is {now.get(name)}"
        for name in names
        if was.get(name) != now.get(name)
    ]
