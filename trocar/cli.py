"""The command line: every command is imported when it is called, so that help answers at once.

trocar demo
trocar train supervised data/ --out runs/first
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
from pathlib import Path

import click

from trocar import __version__
from trocar.contract.errors import InterruptedByUserError, MissingExtraError, TrocarError

_COMMANDS = Path(__file__).parent / "commands"


# The package to install, by the module whose import failed; the extras of setup.py hold them all.
_EXTRA_OF_MODULE = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "segmentation_models_pytorch": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "PIL": "train",
    "yaml": "train",
    "onnx": "export",
    "onnxscript": "export",
    "tensorrt": "gpu",
    "pycuda": "gpu",
    "cuda": "gpu",
    "tensorrt_rtx": "rtx",
    "openvino": "openvino",
}


def command_names() -> list[str]:
    """Names of the commands: the files of ``trocar/commands``, with dashes; imports none."""
    return sorted(path.stem.replace("_", "-") for path in _COMMANDS.glob("[a-z]*.py"))


def summary_of(name: str) -> str:
    """First line of a command's file; read from its source, not imported."""
    path = _COMMANDS / f"{name.replace('-', '_')}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name
    return text.splitlines()[0]


def find_command(name: str) -> click.Command:
    """Imports the command of that name: the function named like its file.

    Raises:
        ModuleNotFoundError: A package that it needs is not installed.
    """
    stem = name.replace("-", "_")
    command: click.Command = getattr(importlib.import_module(f"trocar.commands.{stem}"), stem)
    return command


class CommandsByFile(click.Group):
    """A group whose commands are the files of ``trocar/commands``, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        return command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command.

        Raises:
            ModuleNotFoundError: A package that it needs is not installed.
        """
        return find_command(cmd_name) if cmd_name in command_names() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest known names to click's word on an unknown command."""
        names = command_names()
        if args and args[0] not in names and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], names, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary_of(name)) for name in command_names()])


@click.command(cls=CommandsByFile, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trocar")
def cli() -> None:
    """From labelled surgical frames to instruments found in live video.

    Start with `trocar demo`. For research use only; not a medical device.
    """


def main(args: list[str] | None = None) -> None:
    """Runs the command line; every expected fault ends in words and an exit code, no traceback.

    The exit code is the error's status code (see `trocar.contract.errors`), 2 for wrong usage and
    130 for Ctrl-C. With ``TROCAR_DEBUG=1`` the traceback is shown.
    """
    if os.environ.get("TROCAR_DEBUG"):
        cli(args)
    try:
        cli(args, standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt, InterruptedByUserError):
        click.echo("\nstopped by the user", err=True)
        sys.exit(130)
    except TrocarError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        _fail(_missing(error))
    except BrokenPipeError:
        # The reader of our output has left (`trocar … | head`); nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _fail(error: TrocarError) -> None:
    click.echo(click.style("error: ", fg="red", bold=True) + error.message, err=True)
    if error.remedy:
        click.echo(f"  → {error.remedy}", err=True)
    sys.exit(error.code)


def _missing(error: ModuleNotFoundError) -> TrocarError:
    top = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF_MODULE.get(top)
    if extra is None:
        raise error
    return MissingExtraError(
        f"this command needs the Python package {top!r}, which is not installed",
        remedy=f"pip install 'trocar[{extra}]'",
    )


if __name__ == "__main__":
    main()
