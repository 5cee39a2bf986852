"""MLflow: a run on a tracking server, or in a store of files.

    logger = MlflowLogger(RunInfo(name="first", folder=Path("runs/first"), uri="http://ml:5000"))

Without an address the environment's ``MLFLOW_TRACKING_URI`` counts, and without that a store in the
run's folder: ``mlflow.db``, SQLite, with the files in ``mlflow/``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trocar.train.loggers.protocol import RunInfo

STORE, FILES = "mlflow.db", "mlflow"

_PARAMETERS_AT_ONCE = 100
_LONGEST = 500
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own defaults repeat a request for many minutes; a variable that is set counts more."""


class MlflowLogger:
    """One MLflow run; a resumed run goes on with it.

    Args:
        info: See `trocar.train.loggers.protocol.RunInfo`.
    """

    def __init__(self, info: RunInfo) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        address = address_of(info)
        self.client: Any = MlflowClient(tracking_uri=address)
        if info.identity:
            self.identity = info.identity
            self.client.update_run(self.identity, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(info.experiment)
        number = (
            experiment.experiment_id
            if experiment is not None
            else self.client.create_experiment(
                info.experiment, artifact_location=_files_of(address, info.folder)
            )
        )
        self.identity = self.client.create_run(number, run_name=info.name).info.run_id
        rows = [Param(name, str(value)[:_LONGEST]) for name, value in info.settings.items()]
        for first in range(0, len(rows), _PARAMETERS_AT_ONCE):
            part = rows[first : first + _PARAMETERS_AT_ONCE]
            self.client.log_batch(self.identity, params=part)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        self.client.log_batch(self.identity, metrics=metrics)

    def picture(self, name: str, path: Path, step: int) -> None:
        """Stores the file under ``pictures``."""
        self.client.log_artifact(self.identity, str(path), "pictures")

    def artefact(self, path: Path) -> None:
        """Stores a file, or a folder under its name."""
        if path.is_dir():
            self.client.log_artifacts(self.identity, str(path), path.name)
        else:
            self.client.log_artifact(self.identity, str(path))

    def close(self, *, failed: bool) -> None:
        """Marks the run as finished or failed."""
        self.client.set_terminated(self.identity, "FAILED" if failed else "FINISHED")


def address_of(info: RunInfo) -> str:
    """The address that a run logs to."""
    given = info.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{(info.folder / STORE).resolve()}"


def _files_of(address: str, folder: Path) -> str | None:
    """Where a database without a server keeps files; MLflow's own default is the current folder."""
    return (folder / FILES).resolve().as_uri() if address.startswith("sqlite:") else None
