"""An archive over a Ray cluster: recordings are tasks, workers may die, nothing is done twice.

trocar run model.trocar 'archive/**/*.mp4' --out results --ray local        this machine
trocar run model.trocar 'archive/**/*.mp4' --out results --ray auto         the cluster around it

Recordings, model and results must lie under the same paths on every machine (a shared disk), and
Trocar must be installed on each. A task whose worker died is started again by Ray; a folder that
takes its name in one step makes that harmless, and the log tells of every attempt.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trocar.contract.errors import BackendError, ConfigError, MissingExtraError
from trocar.runtime.archive.state import Job, Outcome
from trocar.runtime.archive.worker import Worker, process
from trocar.runtime.devices import usable_cores

RETRIES = 3
"""Deaths of workers that a recording survives."""
STORE = 100_000_000
"""Bytes of a local cluster's object store: nothing big goes through it, frames least of all."""

_kept: dict[str, Worker] = {}


def run_on_ray(
    job: Job, todo: Sequence[Path], address: str, report: Callable[[Outcome], None]
) -> None:
    """Does recordings on a cluster.

    Args:
        job: What is to be done.
        todo: The recordings.
        address: ``local`` for a cluster of this machine's own cores, else Ray's address.
        report: Told of each recording as it is done.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no cluster at the address.
        BackendError: The cluster has no machine with what a task needs.
    """
    # Recordings of patients: no word of them leaves the house.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            f"--ray needs the Python package 'ray', which cannot be imported: {error}",
            remedy="pip install 'trocar[ray]'",
        ) from error
    threads = int(job.flags["threads"] or 1)
    gpus = 0 if job.flags["device"] == "cpu" else 1
    _connect(ray, address)
    pending: list[Any] = []
    try:
        _check_room(ray, threads, gpus)
        task = ray.remote(max_retries=RETRIES, num_cpus=threads, num_gpus=gpus)(work)
        shared = ray.put(job)
        named = {task.remote(shared, str(path)): path for path in todo}
        pending = list(named)
        while pending:
            # Short waits let Ctrl-C through.
            ready, pending = ray.wait(pending, num_returns=1, timeout=0.5)
            for reference in ready:
                report(_outcome(ray, reference, named[reference]))
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)
        ray.shutdown()


def work(job: Job, recording: str) -> Outcome:
    """What a worker does; it keeps the model open for its next recording."""
    worker = _kept.get(job.run)
    if worker is None:
        _kept.clear()
        worker = _kept[job.run] = Worker(job.flags, ahead=1)
    return process(job, Path(recording), worker)


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(
                address="local",
                num_cpus=usable_cores(),
                include_dashboard=False,
                object_store_memory=STORE,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError, TimeoutError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address!r}: {_first_line(error)}",
            remedy="start one with `ray start --head`, or use --ray local",
        ) from error


def _check_room(ray: Any, threads: int, gpus: int) -> None:
    """A task that fits no machine would wait for ever."""
    fits = [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= threads
        and node["Resources"].get("GPU", 0) >= gpus
    ]
    if not fits:
        raise BackendError(
            f"no machine of the cluster has {threads} free-to-use core(s) and {gpus} GPU(s)",
            remedy="ask for fewer --threads, or for --device cpu",
        )


def _outcome(ray: Any, reference: Any, recording: Path) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        # Faults of a recording come as outcomes; this is a worker that died again and again, or a
        # machine that has no Trocar.
        return Outcome(
            recording=str(recording),
            state="failed",
            reason=f"its worker failed: {_first_line(error)}",
            remedy="look for workers killed for memory, and install Trocar on every machine",
        )
    return outcome


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
