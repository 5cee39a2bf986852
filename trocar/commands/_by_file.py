"""Commands that are found by file name: one file is one command, imported when it is called.

@click.group(cls=CommandsByFile, folder=folder, package="trocar.commands._data")
"""

from __future__ import annotations

import ast
import difflib
import importlib
from pathlib import Path
from typing import Any

import click


class CommandsByFile(click.Group):
    """A group whose commands are the files of a folder, imported when they are called.

    ``extract_frames.py`` holds the function ``extract_frames``, the command ``extract-frames``; its
    first docstring line is the command's summary in the help of the group. A file named like a
    Python keyword ends in an underscore: ``import_.py`` is the command ``import``.

    Args:
        folder: Folder of the files.
        package: Import name of the folder.
        settings: Further arguments of `click.Group`.
    """

    def __init__(self, *, folder: Path, package: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._folder, self._package = folder, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, sorted; imports none of them."""
        return list(self._files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports one command; ``None`` where there is none of that name.

        Raises:
            ModuleNotFoundError: A package that it needs is not installed.
        """
        file = self._files().get(cmd_name)
        if file is None:
            return None
        module = importlib.import_module(f"{self._package}.{file.stem}")
        command: click.Command = getattr(module, file.stem)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest known names to the error for an unknown command."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], names, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary_of(file)) for name, file in self._files().items()])

    def _files(self) -> dict[str, Path]:
        return command_files(self._folder)


def command_files(folder: Path) -> dict[str, Path]:
    """Files of a folder by the names of the commands that they hold, sorted by name."""
    files = sorted(folder.glob("[a-z]*.py"))
    return {file.stem.rstrip("_").replace("_", "-"): file for file in files}


def summary_of(file: Path) -> str:
    """First docstring line of a command's file; read from its source, not imported."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or file.stem
    return text.splitlines()[0]
