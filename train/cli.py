"""``trocar train METHOD DATA --out RUN``: one command a method, found by file name.

trocar train supervised data/ --out runs/first --steps 500
"""

from __future__ import annotations

import ast
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar.contract.config import fields_of, from_mapping, to_mapping, unknown
from trocar.contract.errors import ConfigError
from trocar.contract.flags import config_flags
from trocar.contract.toml import read_toml
from trocar.train.methods import find_method, method_names

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
    from trocar.train.opening import DataConfig
    from trocar.train.settings import RunConfig

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


def run_method(name: str, *, data: Path, out: Path, flags: dict[str, Any]) -> dict[str, Any]:
    """Trains as the command line says; what ``metrics.json`` holds comes back.

    Args:
        name: The method.
        data: Labelled set.
        out: Folder of the run.
        flags: By name as the command has them; ``None`` means not given.
    """
    from trocar.train.job import Job
    from trocar.train.loop import train as run_loop
    from trocar.train.opening import DataConfig, Paths, open_data, trained_on
    from trocar.train.run_folder import CONFIG, RunFolder
    from trocar.train.settings import RunConfig

    resume = bool(flags.get("resume"))
    RunFolder(out).check(resume=resume or not _is_first_process())
    recipe = flags.get("recipe")
    if resume and (out / CONFIG).is_file():
        recipe = out / CONFIG
    kind = find_method(name)
    settings = read_settings(
        (kind.Config, DataConfig, RunConfig), recipe=recipe, flags=flags, method=name
    )
    method = kind(settings[0])
    paths = Paths(data=data, **{n: flags.get(n) for n in ("unlabelled", "target", "validation")})
    sets = open_data(paths, settings[1], settings[2], method)
    if _is_first_process():
        for note in sets.labelled.notes:  # e.g. which groups validate
            click.echo(f"note: {note}", err=True)
    return run_loop(
        Job(
            method=method,
            run=settings[2],
            data=sets,
            name=flags.get("name") or out.resolve().name,
            out=out,
            resume=resume,
            command=shlex.join(["trocar", *sys.argv[1:]]),
            source={
                "data": {n: str(p) for n, p in vars(paths).items() if p is not None},
                "trained_on": trained_on(sets),
            },
            extra=to_mapping(settings[1]),
        )
    )


def read_settings(
    kinds: tuple[type, ...], *, recipe: Path | None, flags: dict[str, Any], method: str
) -> tuple[Any, ...]:
    """Settings of several dataclasses from one flat recipe and flags, which win.

    Raises:
        ConfigError: Every unknown name, ill-typed or out-of-range value, of all of them at once.
    """
    known = {spec.name for kind in kinds for spec in fields_of(kind)}
    values = dict(read_toml(recipe)) if recipe else {}
    faults = []
    stated = values.pop("method", method)
    if stated != method:
        faults.append(f"it is a recipe for {stated}, not for {method}")
    faults += [unknown(name, known) for name in values if name not in known]
    values |= {name: v for name, v in flags.items() if name in known and v is not None}
    made: list[Any] = []
    for kind in kinds:
        own = {spec.name for spec in fields_of(kind)}
        try:
            made.append(
                from_mapping(kind, {n: v for n, v in values.items() if n in own}, source="settings")
            )
        except ConfigError as error:
            faults.append(error.message.removeprefix("settings: "))
    if faults:
        source = str(recipe) if recipe else "command line"
        raise ConfigError(f"{source}: " + "; ".join(faults), remedy="mend the named values")
    return tuple(made)


def _extra_sets(method: type[Method]) -> Any:
    """Flags for the sets that a method takes beside the labelled one."""
    texts = {
        "unlabelled": "Folder of frames without labels.",
        "target": "Folder of frames of the target domain; its labels are not read.",
    }

    def decorate(function: Any) -> Any:
        for name in method.takes:
            function = click.option(f"--{name}", type=_FOLDER, help=texts[name])(function)
        return function

    return decorate


def _summary(name: str) -> str:
    """First line of a method's file."""
    path = Path(__file__).parent / "methods" / f"{name.replace('-', '_')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name
    return text.splitlines()[0]


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
