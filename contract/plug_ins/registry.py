"""Plug-ins: entry points whose group is ``trocar.`` and the name of a kind, one of `KINDS`.

    found = plug_ins("methods")                  # {"twice-dice": PlugIn(…)}; imports nothing
    method = load(found["twice-dice"])           # imports it

A name of Trocar's own always means Trocar's own part. A plug-in that cannot be imported, lacks what
its kind needs or raises an error is named with its package and entry point, so that its makers and
not Trocar's are asked. It disturbs only what uses it.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import metadata
from types import TracebackType
from typing import Any, Literal, get_args

from trocar.contract.errors import ConfigError, TrocarError
from trocar.contract.text.words import first_line

Kind = Literal[
    "methods",
    "readers",
    "architectures",
    "losses",
    "loggers",
    "sources",
    "sinks",
    "backends",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of plug-ins; the group of a kind is ``trocar.`` and its name."""

NEEDS: dict[Kind, tuple[str, ...]] = {
    "methods": (
        *("name", "task", "Config", "required_data", "optional_data", "monitor", "streams"),
        *("build", "losses", "after_step", "evaluate", "save_predictions", "deployable"),
    ),
    "readers": ("NAME", "TASKS", "recognise", "scan"),
    "backends": ("open_model",),
}
"""Attributes that the object of a kind must have; those of other kinds must be callable."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class PlugIn:
    """One part that a package adds.

    Attributes:
        kind: What it is.
        name: Name of the entry point, by which it is asked for.
        value: What the entry point names, ``package.module:attribute``.
        package: Name of the package that adds it.
        version: Version of that package.
        summary: What the package says of itself, one line.
        rivals: Other packages that add a part of this kind and name.
    """

    kind: Kind
    name: str
    value: str
    package: str
    version: str
    summary: str = ""
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Words that name the plug-in: package, version and entry point."""
        return (
            f"plug-in {self.name} of package {self.package} {self.version} "
            f"(entry point trocar.{self.kind}: {self.name} = {self.value})"
        )

    @property
    def top(self) -> str:
        """Name of the top package of its code."""
        return self.value.partition(":")[0].partition(".")[0].strip()


def plug_ins(kind: Kind, *, own: Collection[str] = ()) -> dict[str, PlugIn]:
    """The installed plug-ins of a kind by name, sorted; imports none of them.

    Args:
        kind: One of `KINDS`.
        own: Names of Trocar's own parts of this kind; plug-ins with such a name are left out.
    """
    return {one.name: one for one in _found(kind, tuple(sys.path)) if one.name not in own}


def load(plug_in: PlugIn) -> Any:
    """Imports a plug-in and checks that it has what its kind needs.

    Raises:
        ConfigError: It cannot be imported, or is something else; the text names the package.
    """
    if plug_in.rivals:
        raise ConfigError(
            f"{plug_in} and the package {', '.join(plug_in.rivals)} add the same name",
            remedy=f"uninstall one of them, e.g. pip uninstall {plug_in.rivals[0]}",
        )
    if not _NAME.fullmatch(plug_in.name):
        raise plug_in_fault(
            plug_in, "its name must be of small letters, digits and single dashes, e.g. my-part"
        )
    entry = metadata.EntryPoint(
        name=plug_in.name, value=plug_in.value, group=f"trocar.{plug_in.kind}"
    )
    try:
        made = entry.load()
    except (Exception, SystemExit) as error:
        # Any code may run here, so any error may come.
        raise plug_in_fault(plug_in, f"{type(error).__name__}: {first_line(error)}") from error
    needs = NEEDS.get(plug_in.kind)
    if needs is None:
        if not callable(made):
            raise plug_in_fault(plug_in, f"it is a {type(made).__name__}, expected a function")
    else:
        check_object(plug_in, made, needs)
    return made


def check_object(plug_in: PlugIn, made: Any, needs: Collection[str]) -> None:
    """Refuses an object of a plug-in without the attributes that are needed.

    Raises:
        ConfigError: Attributes are missing; all are named.
    """
    missing = [name for name in needs if not hasattr(made, name)]
    if missing:
        kind = made.__name__ if isinstance(made, type) else type(made).__name__
        raise plug_in_fault(plug_in, f"{kind} has no {', '.join(missing)}")


def plug_in_fault(plug_in: PlugIn, why: str) -> ConfigError:
    """The error for a fault of a plug-in."""
    return ConfigError(
        f"{plug_in} does not work: {why}",
        remedy=f"update it (pip install --upgrade {plug_in.package}), tell its makers, or remove "
        f"it: pip uninstall {plug_in.package}",
    )


@contextmanager
def blamed(plug_in: PlugIn | None) -> Iterator[None]:
    """Names the plug-in in errors that come out of its code; others pass unchanged.

    Errors that Trocar raises on purpose have their remedy already.

    Args:
        plug_in: The plug-in that is used; ``None`` changes nothing.

    Raises:
        ConfigError: An error came out of the plug-in's code.
    """
    try:
        yield
    except TrocarError:
        raise
    except Exception as error:
        if plug_in is None or not _runs_in(error.__traceback__, plug_in.top):
            raise
        raise plug_in_fault(plug_in, f"{type(error).__name__}: {first_line(error)}") from error


def guard_methods(plug_in: PlugIn, made: Any, names: Collection[str]) -> None:
    """Makes methods of a plug-in's object raise errors that name the plug-in, see `blamed`.

    A method that returns an iterator is guarded while it is iterated. An object that takes no new
    attributes stays as it is.
    """
    for name in names:
        with suppress(AttributeError):
            setattr(made, name, _guarded(plug_in, getattr(made, name)))


def _guarded(plug_in: PlugIn, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        with blamed(plug_in):
            result = method(*args, **options)
        return _iterated(plug_in, result) if isinstance(result, Iterator) else result

    return call


def _iterated(plug_in: PlugIn, values: Iterator[Any]) -> Iterator[Any]:
    with blamed(plug_in):
        yield from values


def _runs_in(trace: TracebackType | None, top: str) -> bool:
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == top:
            return True
        trace = trace.tb_next
    return False


@functools.lru_cache(maxsize=64)
def _found(kind: Kind, path: tuple[str, ...]) -> tuple[PlugIn, ...]:
    """The plug-ins of a kind, sorted by name; a new search path is searched anew."""
    by_name: dict[str, dict[str, PlugIn]] = {}
    for entry in metadata.entry_points(group=f"trocar.{kind}"):
        about = entry.dist
        package = about.name if about is not None else entry.module
        plug_in = PlugIn(
            kind=kind,
            name=entry.name,
            value=entry.value,
            package=package,
            version=about.version if about is not None else "",
            summary=(about.metadata["Summary"] or "") if about is not None else "",
        )
        by_name.setdefault(entry.name, {}).setdefault(package, plug_in)
    return tuple(_with_rivals(list(by_name[name].values())) for name in sorted(by_name))


def _with_rivals(same: list[PlugIn]) -> PlugIn:
    first, *others = same
    return replace(first, rivals=tuple(other.package for other in others))
