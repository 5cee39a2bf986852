"""``--config`` and ``--save-config``: the flags of a command as a flat TOML file.

    @click.command()
    @config_file_flags
    def command(**flags: Any) -> None: ...

A key is the name of a flag with underscores, or of an argument. Flags on the command line override
the file. Relative paths are relative to the working directory, as on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import tomli_w
from click.core import ParameterSource

from trocar.commands._help import grouped
from trocar.contract.bundle import write_atomic
from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError
from trocar.contract.text.toml import read_toml
from trocar.runtime.sinks.files import check_free, sink_error
from trocar.runtime.sources.addresses import REDACTED, redacted

F = TypeVar("F", bound=Callable[..., Any])

_NOT_SAVED = ("config", "save_config", "help")
_SECRET = ("token",)
_HEADER = (
    "# The configuration of a run: trocar run --config FILE\n"
    f"# Passwords and tokens in addresses are written as {REDACTED}, and --token is left out.\n"
)


def config_file_flags(function: F) -> F:
    """Adds ``--config`` and ``--save-config``."""
    file = click.Path(dir_okay=False, path_type=Path)
    return grouped(
        "Configuration",
        click.option(
            "--config",
            type=file,
            is_eager=True,
            callback=_use_config,
            help="Read flags from a TOML file; flags given here override it.",
        ),
        click.option(
            "--save-config",
            type=file,
            help="Write the flags of this run as TOML, without passwords and tokens.",
        ),
    )(function)


def check_redacted(ctx: click.Context) -> None:
    """Refuses values of the file in which a password was redacted.

    Raises:
        ConfigError: Such a value is not overridden on the command line; all at once.
    """
    faults = [
        name
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) == ParameterSource.DEFAULT_MAP
        and any(REDACTED in text for text in _texts(value))
    ]
    if faults:
        raise ConfigError(
            f"the password in {', '.join(faults)} was redacted when the configuration was saved",
            remedy="give the full address on the command line",
        )


def save_config(ctx: click.Context, path: Path, *, overwrite: bool) -> None:
    """Writes the flags of a command as TOML, before it runs.

    A file with the same content is left as it is, so that a command can be repeated.

    Raises:
        OutputExistsError: Another file exists and may not be replaced.
        SinkError: The file cannot be written.
    """
    data = config_text(ctx).encode()
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        check_free(path, overwrite=overwrite)
        write_atomic(path, data)
    except OSError as error:
        raise sink_error(path, error) from error


def config_text(ctx: click.Context) -> str:
    """The flags of a command as TOML; flags without a value and secrets are left out."""
    return _HEADER + tomli_w.dumps(config_values(ctx))


def config_values(ctx: click.Context) -> dict[str, Any]:
    """The flags of a command by name, with plain values; flags without a value are left out."""
    names = [p.name for p in ctx.command.params if p.name not in (*_NOT_SAVED, *_SECRET)]
    return {
        name: _plain(ctx.params[name])
        for name in names
        if name is not None and ctx.params.get(name) not in (None, ())
    }


def read_config(command: click.Command, path: Path) -> dict[str, Any]:
    """Reads flags from TOML: values by parameter name, ready for click.

    Raises:
        DataError: The file cannot be read or is not TOML.
        ConfigError: Unknown names and values of the wrong type or range, all at once.
    """
    parameters = {p.name: p for p in command.params if p.name and p.name not in _NOT_SAVED}
    values: dict[str, Any] = {}
    faults = []
    for name, value in read_toml(path).items():
        parameter = parameters.get(name)
        if parameter is None:
            faults.append(unknown(name, parameters))
            continue
        try:
            values[name] = _checked(value, parameter)
        except (ValueError, click.BadParameter) as error:
            text = error.message if isinstance(error, click.BadParameter) else str(error)
            faults.append(f"{name}: {text}")
    if faults:
        raise ConfigError(f"{path}: " + "; ".join(faults), remedy="correct the named values")
    return values


def _use_config(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        ctx.default_map = read_config(ctx.command, path)
    return path


def _checked(value: Any, parameter: click.Parameter) -> Any:
    """The value, if its TOML type and its range fit the parameter.

    Raises:
        ValueError: The type differs.
        click.BadParameter: The value is out of range, or none of the choices.
    """
    if parameter.multiple or parameter.nargs == -1:
        if not isinstance(value, list):
            raise ValueError(f"got {value!r}, expected a list of texts")
        return [_checked_one(item, parameter) for item in value]
    return _checked_one(value, parameter)


def _checked_one(value: Any, parameter: click.Parameter) -> Any:
    kind = parameter.type
    expected: tuple[type, ...]
    if getattr(parameter, "is_flag", False):
        expected, word = (bool,), "true or false"
    elif isinstance(kind, (click.types.IntParamType, click.IntRange)):
        expected, word = (int,), "a whole number"
    elif isinstance(kind, (click.types.FloatParamType, click.FloatRange)):
        expected, word = (int, float), "a number"
    else:
        expected, word = (str,), "text"
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise ValueError(f"got {value!r}, expected {word}")
    return kind.convert(value, parameter, None)


def _plain(value: Any) -> Any:
    """A value as TOML writes it; passwords in addresses are redacted."""
    if isinstance(value, tuple) and value and isinstance(value[-1], int):
        host, port = value
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, int, float)):
        return value
    return redacted(str(value))


def _texts(value: Mapping[str, Any] | Any) -> list[str]:
    items = value if isinstance(value, tuple) else (value,)
    return [str(item) for item in items]
