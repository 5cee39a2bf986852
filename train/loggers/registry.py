"""Loggers by name, and how they are opened.

    logger = open_logger("csv", RunInfo(name="first", folder=Path("runs/first")))

`LOGGERS` holds them by name. Plug-ins add others.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import blamed, check_object, load, plug_ins
from trocar.train.loggers.files import CsvLogger, TensorBoardLogger
from trocar.train.loggers.mlflow_runs import MlflowLogger
from trocar.train.loggers.protocol import RunInfo, RunLogger
from trocar.train.loggers.wandb_runs import WandbLogger


@dataclass(frozen=True, kw_only=True)
class LoggerKind:
    """A logger that runs can name.

    Attributes:
        make: Opens it.
        package: Package that it needs and Trocar does not; empty for none.
        is_remote: Whether it may wait for a server, so that it has a thread of its own.
    """

    make: Callable[[RunInfo], RunLogger]
    package: str = ""
    is_remote: bool = False


LOGGERS: dict[str, LoggerKind] = {
    "tensorboard": LoggerKind(make=TensorBoardLogger),
    "csv": LoggerKind(make=CsvLogger),
    "mlflow": LoggerKind(make=MlflowLogger, package="mlflow", is_remote=True),
    "wandb": LoggerKind(make=WandbLogger, package="wandb", is_remote=True),
}

NO_LOGGER = "none"


def logger_names() -> list[str]:
    """Trocar's own loggers, then those of plug-ins; imports none of them."""
    return [*LOGGERS, *plug_ins("loggers", own=LOGGERS)]


def find_logger(name: str) -> LoggerKind:
    """The kind of logger of that name, one of `logger_names`; a plug-in is imported when opened.

    A plug-in's logger has a thread of its own, so that it cannot hold up the training.
    """
    if name in LOGGERS:
        return LOGGERS[name]
    plug_in = plug_ins("loggers", own=LOGGERS)[name]

    def make(info: RunInfo) -> RunLogger:
        with blamed(plug_in):
            logger: RunLogger = load(plug_in)(info)
        check_object(plug_in, logger, ("identity", "scalars", "picture", "artefact", "close"))
        return logger

    return LoggerKind(make=make, is_remote=True)


def logger_faults(names: tuple[str, ...]) -> list[str]:
    """What is wrong with the names of a run's loggers, for settings."""
    chosen = [name for name in names if name != NO_LOGGER]
    names_here = logger_names()
    faults = [f"logger {unknown(name, names_here)}" for name in chosen if name not in names_here]
    if len(set(names)) < len(names):
        faults.append("logger names one twice")
    if chosen and len(chosen) < len(names):
        faults.append(f"logger is {NO_LOGGER} and {chosen[0]} at once")
    return faults


def check_packages(names: tuple[str, ...]) -> None:
    """Refuses a logger whose package is not installed.

    Raises:
        ConfigError: A package is missing.
    """
    for name in names:
        package = LOGGERS[name].package if name in LOGGERS else ""
        if package and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"logger {name} needs the package {package}, which is not installed",
                remedy=f"pip install 'trocar[{name}]', or choose another --logger",
            )


def open_logger(name: str, info: RunInfo) -> RunLogger:
    """Opens a logger; whatever its package raises comes through."""
    return find_logger(name).make(info)
