"""Config files of MONAI bundles, read without evaluating anything in them.

config = read_config(Path("configs/inference.json"))
config.resolved(config.first("network_def"), place="network_def")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.errors import ArgumentError, DataError
from trocar.contract.text.words import first_line
from trocar.export.sources.files import read_object

_MOST_REFERENCES = 32


@dataclass(frozen=True)
class MonaiConfig:
    """A config: an object whose texts may be references (``@``) or expressions (``$``)."""

    path: Path
    values: Mapping[str, Any]

    def first(self, *names: str) -> Any:
        """The first of these entries that is an object or list; references are followed once."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str) and value.startswith("@"):
                value = self._target(value, name)
            if isinstance(value, (Mapping, list)):
                return value
        return None

    def resolved(self, value: Any, *, place: str) -> Any:
        """A value with its references replaced.

        Raises:
            ArgumentError: An expression, a macro or a callable, which only running code would tell.
        """
        if isinstance(value, Mapping):
            if value.get("_mode_") not in (None, "default"):
                raise self._refused(place, f"_mode_ = {value['_mode_']!r}")
            return {str(k): self.resolved(v, place=f"{place}.{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolved(v, place=f"{place}.{i}") for i, v in enumerate(value)]
        for _ in range(_MOST_REFERENCES):
            if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
                return value
            if value[0] != "@":
                raise self._refused(place, value)
            value = self._target(value, place)
            if isinstance(value, (Mapping, list)):
                return self.resolved(value, place=place)
        raise self._refused(place, "a reference that leads to itself")

    def _target(self, reference: str, place: str) -> Any:
        found: Any = self.values
        for part in reference[1:].replace("#", "::").split("::"):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise self._refused(place, f"{reference}, which is not in the file")
        return found

    def _refused(self, place: str, what: str) -> ArgumentError:
        return ArgumentError(
            f"{self.path}: {place} is {what[:120]}; nothing in a config is evaluated",
            remedy="write the value itself there, in a copy of the file",
        )


def read_config(path: Path) -> MonaiConfig:
    """Reads a config, JSON or YAML.

    Raises:
        DataError: It cannot be read, or holds no object.
    """
    if path.suffix == ".json":
        return MonaiConfig(path, read_object(path))
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as YAML: {first_line(error)}",
            remedy="name a config of a MONAI bundle, e.g. configs/inference.json",
        ) from error
    if not isinstance(values, dict):
        raise DataError(
            f"{path} holds a {type(values).__name__}, expected an object",
            remedy="name a config of a MONAI bundle, e.g. configs/inference.json",
        )
    return MonaiConfig(path, values)
