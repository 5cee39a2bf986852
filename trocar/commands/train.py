"""``trocar train METHOD DATA --out RUN``: one command a method, found by file name.

trocar train supervised data/ --out runs/first --steps 500
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar.commands._config_options import config_flags
from trocar.contract.config import unknown
from trocar.train.methods import find_method, method_names
from trocar.train.run import run_method

if TYPE_CHECKING:
    from trocar.train.methods.protocol import Method

_FOLDER = click.Path(path_type=Path)


class Methods(click.Group):
    """One command for each file in ``methods/``; imported when it is called, not when listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the methods."""
        return method_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the method and makes its command."""
        return method_command(cmd_name) if cmd_name in method_names() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest known names to click's word on an unknown method."""
        if args and not args[0].startswith("-") and args[0] not in method_names():
            ctx.fail(f"training method {unknown(args[0], method_names())}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the methods by the first lines of their files, importing none."""
        with formatter.section("Methods"):
            formatter.write_dl([(name, _summary(name)) for name in method_names()])


@click.group(cls=Methods)
def train() -> None:
    """Train a network by one of the methods.

    Try `trocar train supervised DATA --out runs/first`; each method has its own --help.
    """


def method_command(name: str) -> click.Command:
    """The click command of a method: its flags, the loop's and the data's."""
    from trocar.train.data.config import DataConfig
    from trocar.train.state.settings import RunConfig

    method = find_method(name)

    @click.command(name, help=_summary(name), short_help=_summary(name))
    @click.argument("data", type=_FOLDER)
    @click.option("--out", type=_FOLDER, required=True, help="Folder of the run.")
    @click.option("--recipe", type=_FOLDER, help="Flat TOML of settings; flags win over it.")
    @click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
    @click.option("--name", help="Model name for people. [default: the folder's name]")
    @click.option("--validation", type=_FOLDER, help="Labelled frames to validate on instead.")
    @_extra_sets(method)  # type: ignore[untyped-decorator]
    @config_flags(method.Config)
    @config_flags(DataConfig)
    @config_flags(RunConfig)
    def command(data: Path, out: Path, **flags: Any) -> None:
        run_method(name, data=data, out=out, flags=flags)

    return command


def _extra_sets(method: type[Method]) -> Any:
    """Flags for the sets that a method takes beside the labelled one."""
    texts = {
        "unlabelled": "Folder of frames without labels.",
        "target": "Folder of frames of the target domain; its labels are not read.",
    }

    from trocar.train.methods.protocol import accepted_data

    def decorate(function: Any) -> Any:
        for name in accepted_data(method):
            function = click.option(f"--{name}", type=_FOLDER, help=texts[name])(function)
        return function

    return decorate


def _summary(name: str) -> str:
    """First line of a method's file."""
    path = Path(__file__).parents[1] / "train" / "methods" / f"{name.replace('-', '_')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name
    return text.splitlines()[0]
