"""Which settings are searched, and in which range.

    space = read_space({"lr": "1e-4:1e-2:log", "encoder": ["resnet18", "resnet34"]}, kinds)
    settings = space.suggest(trial)                # {"lr": 0.00071, "encoder": "resnet18"}

``LOW:HIGH`` is a range, ``LOW:HIGH:log`` one whose logarithm is drawn evenly, ``A,B,C`` or a list
are choices. Settings of whole numbers get whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trocar.contract.config import FieldSpec, fields_of, unknown
from trocar.contract.errors import ConfigError

DEFAULT_SEARCH: Mapping[str, Any] = {"lr": "1e-4:1e-2:log", "weight_decay": "1e-4:1e-1:log"}
"""What is searched where nothing is named."""

NOT_SEARCHED = frozenset(
    {
        *("seed", "steps", "epochs", "device", "devices", "nodes", "workers", "evaluate_every"),
        *("save_every", "log_every", "cache_mb", "val_share", "label_share", "fold", "task"),
        "teacher",
    }
)
"""Settings whose scores cannot be compared, or that do not change what is trained."""


class Trial(Protocol):
    """What a parameter needs of Optuna's trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number of a range."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """A whole number of a range, both ends included."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any:
        """One of several texts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting that is searched.

    Attributes:
        name: Name of the setting.
        low: Smallest value of a range.
        high: Largest value of a range.
        log: Whether the logarithm is drawn evenly.
        is_whole: Whether values are whole numbers.
        choices: The choices; empty for a range.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    is_whole: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Trial) -> Any:
        """A value for a trial."""
        if self.choices:
            texts = [json.dumps(choice) for choice in self.choices]
            return json.loads(trial.suggest_categorical(self.name, texts))
        if self.is_whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Both ends of a range, or all choices."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.is_whole else (self.low, self.high)

    def to_text(self) -> str:
        """The range or the choices as text, the same for the same search."""
        if self.choices:
            return json.dumps(list(self.choices))
        return f"{self.low:g}:{self.high:g}" + (":log" if self.log else "")


@dataclass(frozen=True)
class Space:
    """All settings that are searched, sorted by name."""

    parameters: tuple[Parameter, ...]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Settings for a trial by name."""
        return {one.name: one.suggest(trial) for one in self.parameters}

    def to_dict(self) -> dict[str, str]:
        """Texts by name."""
        return {one.name: one.to_text() for one in self.parameters}


def read_space(search: Mapping[str, Any], kinds: Sequence[type]) -> Space:
    """Reads a search.

    Args:
        search: Texts or lists by setting, see the module; empty for `DEFAULT_SEARCH`.
        kinds: Dataclasses of the settings.

    Raises:
        ConfigError: Unknown settings, settings that cannot be searched, or texts that are neither
            range nor choices; all at once.
    """
    specs = {spec.name: spec for kind in kinds for spec in fields_of(kind)}
    made, faults = [], []
    for name, value in sorted((search or DEFAULT_SEARCH).items()):
        try:
            if name not in specs:
                raise ValueError(unknown(name, specs))
            if name in NOT_SEARCHED:
                raise ValueError("cannot be searched: scores could not be compared")
            made.append(_parameter(specs[name], value))
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise ConfigError(
            "search: " + "; ".join(faults),
            remedy="write NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C",
        )
    return Space(tuple(made))


def _parameter(spec: FieldSpec, value: Any) -> Parameter:
    if isinstance(value, str):
        parts = value.split(":")
        numbers = [_number(part) for part in parts[:2]]
        is_number = spec.kind in (int, float)
        if is_number and len(parts) > 1:
            if None in numbers or len(parts) > 3 or parts[2:] not in ([], ["log"]):
                raise ValueError(f"got {value!r}, expected LOW:HIGH or LOW:HIGH:log")
            return _range(spec, float(numbers[0] or 0), float(numbers[1] or 0), len(parts) == 3)
        value = [part.strip() for part in value.split(",") if part.strip()]
        if is_number:
            value = [_number(part) for part in value]
    if not isinstance(value, (list, tuple)) or len(value) < 2 or None in value:
        raise ValueError(f"got {value!r}, expected a range or two choices or more")
    if spec.kind is int and any(float(one) != int(one) for one in value):
        raise ValueError(f"got {value!r}, expected whole numbers")
    choices = tuple(int(one) if spec.kind is int else one for one in value)
    return Parameter(name=spec.name, choices=choices)


def _range(spec: FieldSpec, low: float, high: float, log: bool) -> Parameter:
    if not low < high:
        raise ValueError(f"got {low:g}:{high:g}, expected the smaller number first")
    if log and low <= 0:
        raise ValueError(f"got {low:g}:{high:g}:log, expected numbers above 0")
    is_whole = spec.kind is int
    if is_whole and (low != int(low) or high != int(high)):
        raise ValueError(f"got {low:g}:{high:g}, expected whole numbers")
    return Parameter(name=spec.name, low=low, high=high, log=log, is_whole=is_whole)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
