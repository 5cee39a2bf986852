"""Train a network by one of the methods.

trocar train supervised data/ --out runs/first --steps 500
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar.commands._config_options import config_flags
from trocar.commands._help import GroupedCommand, grouped
from trocar.contract.config import fields_of, unknown
from trocar.contract.outputs import check_outputs
from trocar.train.methods import find_method, method_names, method_summary
from trocar.train.run import TrainRequest, data_settings, run_method

if TYPE_CHECKING:
    from trocar.train.methods.protocol import Method

_PATH = click.Path(path_type=Path)
_EXTRA_DATA = {
    "unlabelled": "Folder of frames without labels.",
    "target": "Folder of frames of the target domain; their labels are not read.",
}


class MethodGroup(click.Group):
    """One command for each file in ``train/methods``; imported when called, not when listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the methods."""
        return method_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the method and makes its command."""
        return method_command(cmd_name) if cmd_name in method_names() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest names to click's message on an unknown method."""
        if args and not args[0].startswith("-") and args[0] not in method_names():
            ctx.fail(f"training method {unknown(args[0], method_names())}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the methods by the first lines of their files, importing none."""
        with formatter.section("Methods"):
            formatter.write_dl([(name, method_summary(name)) for name in method_names()])


@click.group(cls=MethodGroup)
def train() -> None:
    """Train a network by one of the methods.

    Try `trocar train supervised DATA --out runs/first`; each method has its own --help.
    """


def method_command(name: str) -> click.Command:
    """The click command of a method: its settings, those of its data and of the loop."""
    from trocar.train.data.config import DataConfig
    from trocar.train.state.settings import RunConfig

    method = find_method(name)
    text = f"{method_summary(name)}\n\nDATA is {_data_text(method)}."
    settings = (method.Config, DataConfig, RunConfig)
    setting_names = {spec.name for kind in settings for spec in fields_of(kind)}
    unused = {spec.name for spec in fields_of(DataConfig)} - set(data_settings(method))

    @click.command(name, cls=GroupedCommand, help=text, short_help=method_summary(name))
    @click.argument("data", type=_PATH)
    @grouped(
        "Run",
        click.option("--out", type=_PATH, required=True, help="Folder of the run."),
        click.option("--recipe", type=_PATH, help="Flat TOML of settings; flags win over it."),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue from the last checkpoint in --out; with more --steps, train longer.",
        ),
        click.option(
            "--start-from",
            type=_PATH,
            help="Run folder or checkpoint whose weights to start from; classes are matched by "
            "name.",
        ),
        click.option("--name", help="Model name for people. [default: the folder's name]"),
    )
    @grouped("Method settings", config_flags(method.Config))
    @grouped("Data", *_data_options(method), config_flags(DataConfig, leave_out=unused))
    @grouped("Training loop", config_flags(RunConfig))
    def command(**values: Any) -> None:
        chosen = {n: v for n, v in values.items() if n in setting_names and v is not None}
        rest = {n: v for n, v in values.items() if n not in setting_names}
        read = [v for n, v in rest.items() if isinstance(v, Path) and n != "out"]
        check_outputs({"--out": rest["out"]}, inputs=read)
        run_method(
            TrainRequest(
                method=name,
                settings=chosen,
                command=shlex.join(["trocar", *sys.argv[1:]]),
                **rest,
            )
        )

    return command


def _data_text(method: type[Method]) -> str:
    if method.task == "classification":
        return "a folder of photographs by class, or another layout of docs/data.md"
    return "a folder of labelled frames, in any layout of docs/data.md"


def _data_options(method: type[Method]) -> list[Any]:
    """Options for the data sets that a method takes beside the labelled one."""
    from trocar.train.methods.protocol import accepted_data

    options = [
        click.option(f"--{name}", type=_PATH, help=_EXTRA_DATA[name])
        for name in accepted_data(method)
    ]
    text = "Labelled set to validate on. [default: the set's own split, or --val-share]"
    return [*options, click.option("--validation", type=_PATH, help=text)]
