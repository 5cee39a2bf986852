"""Help in groups: a command whose options stand under titles, with their defaults.

    @click.command(cls=GroupedCommand)
    @grouped("Output", click.option("--out", required=True), click.option("--force", is_flag=True))
    def command(out: str, force: bool) -> None: ...

Groups are printed in the order in which they decorate the command. Options without a group, such
as ``--help``, come last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_TITLE = "trocar_help_title"


def grouped(title: str, *decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    """Puts options under a title of ``--help``.

    Args:
        title: The title, e.g. ``Output``. Several calls with one title make one group.
        decorators: ``click.option(…)``, or anything that adds options to a function.
    """

    def decorate(function: F) -> F:
        before = list(getattr(function, "__click_params__", []))
        for decorator in reversed(decorators):
            function = decorator(function)
        for parameter in getattr(function, "__click_params__", []):
            if not any(parameter is known for known in before):
                setattr(parameter, _TITLE, title)
        return function

    return decorate


class GroupedCommand(click.Command):
    """A command that prints its options in the groups of `grouped` and shows their defaults."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        settings = {"show_default": True, **(attributes.pop("context_settings", None) or {})}
        super().__init__(name, context_settings=settings, **attributes)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one section a group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        ungrouped: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, _TITLE, None)
                (ungrouped if title is None else sections.setdefault(title, [])).append(record)
        if ungrouped:
            sections.setdefault("Other options" if sections else "Options", []).extend(ungrouped)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
