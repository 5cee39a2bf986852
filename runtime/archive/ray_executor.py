"""An archive over a Ray cluster: each recording is a task, and workers may fail.

trocar run model.trocar 'archive/**/*.mp4' --out results --ray local        this machine
trocar run model.trocar 'archive/**/*.mp4' --out results --ray auto         the cluster around it

Recordings, model and results must lie under the same paths on every machine (a shared disk), and
Trocar must be installed on each. Ray starts the task of a worker that failed again. This is safe,
because results are published atomically. The log has every attempt.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trocar.contract.errors import BackendError, ConfigError, MissingExtraError
from trocar.contract.text.words import first_line, printable_path
from trocar.runtime.archive.state import Job, Outcome
from trocar.runtime.archive.worker import Worker, process
from trocar.runtime.devices import usable_cores

RETRIES = 3
"""Failures of workers after which a recording is started again."""
OBJECT_STORE_BYTES = 100_000_000
"""Size of a local cluster's object store: no frames go through it."""

_workers: dict[str, Worker] = {}


def run_on_ray(
    job: Job, todo: Sequence[Path], address: str, report: Callable[[Outcome], None]
) -> None:
    """Processes recordings on a cluster.

    Args:
        job: What to do.
        todo: The recordings.
        address: ``local`` for a cluster of this machine's cores, else Ray's address.
        report: Called with the outcome of each recording.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no cluster at the address.
        BackendError: No machine of the cluster has the resources of one task.
    """
    # Recordings of patients are confidential: no usage statistics are sent.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            f"--ray needs the Python package 'ray', which cannot be imported: {error}",
            remedy="pip install 'trocar[ray]'",
        ) from error
    threads = job.options.model.threads or 1
    gpus = 0 if job.options.model.device == "cpu" else 1
    _connect(ray, address)
    pending: list[Any] = []
    try:
        _check_resources(ray, threads, gpus)
        task = ray.remote(max_retries=RETRIES, num_cpus=threads, num_gpus=gpus)(work)
        shared = ray.put(job)
        recordings = {task.remote(shared, str(path)): path for path in todo}
        pending = list(recordings)
        while pending:
            # Short waits let Ctrl-C through.
            ready, pending = ray.wait(pending, num_returns=1, timeout=0.5)
            for reference in ready:
                report(_outcome(ray, reference, recordings[reference]))
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)
        ray.shutdown()


def work(job: Job, recording: str) -> Outcome:
    """Processes one recording in a Ray worker; the model stays open for its next recording."""
    worker = _workers.get(job.run)
    if worker is None:
        _workers.clear()
        worker = _workers[job.run] = Worker(job.options, prefetch=1)
    return process(job, Path(recording), worker)


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(
                address="local",
                num_cpus=usable_cores(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError, TimeoutError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address!r}: {first_line(error)}",
            remedy="start one with `ray start --head`, or use --ray local",
        ) from error


def _check_resources(ray: Any, threads: int, gpus: int) -> None:
    """A task that fits no machine would wait without end."""
    fits = [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= threads
        and node["Resources"].get("GPU", 0) >= gpus
    ]
    if not fits:
        raise BackendError(
            f"no machine of the cluster has {threads} core(s) and {gpus} GPU(s)",
            remedy="pass fewer --threads, or --device cpu",
        )


def _outcome(ray: Any, reference: Any, recording: Path) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        # Faults of a recording are outcomes; this is a worker that failed several times, or a
        # machine without Trocar.
        return Outcome(
            recording=printable_path(recording),
            state="failed",
            reason=f"its worker failed: {first_line(error)}",
            remedy="check for workers that ran out of memory, and install Trocar on every machine",
        )
    return outcome
