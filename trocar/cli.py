"""The command line: every command is imported when it is called, so that help answers at once.

trocar demo
trocar train supervised data/ --out runs/first
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from dataclasses import dataclass

import click

from trocar import __version__
from trocar.contract.errors import InterruptedByUserError, MissingExtraError, TrocarError


@dataclass(frozen=True)
class LazyCommand:
    """Where a command lives and the line that ``trocar --help`` prints for it.

    Attributes:
        target: ``module:attribute`` of a click command.
        summary: One line; kept here so that listing commands imports none of them.
    """

    target: str
    summary: str


COMMANDS: dict[str, LazyCommand] = {
    "demo": LazyCommand("trocar.demo:demo", "The whole way once, on made-up scenes."),
    "data": LazyCommand("trocar.train.data.cli:data", "Check, make and convert data sets."),
    "train": LazyCommand("trocar.train.cli:train", "Train a network by one of the methods."),
    "compare": LazyCommand(
        "trocar.train.compare:compare", "Train recipes over seeds and compare them."
    ),
    "evaluate": LazyCommand(
        "trocar.evaluation.command:evaluate", "Score a model on labelled frames."
    ),
    "prelabel": LazyCommand(
        "trocar.prelabel:prelabel", "Label frames by a model, for annotators to correct."
    ),
    "export": LazyCommand(
        "trocar.deploy:export",
        "Make a bundle and prove it equal to its checkpoint.",
    ),
    "bundle": LazyCommand("trocar.deploy:bundle", "Make a proven bundle of somebody's ONNX file."),
    "engines": LazyCommand("trocar.deploy:engines", "Look after a bundle's engines."),
    "run": LazyCommand("trocar.runtime.cli:run", "Find instruments in a video or live stream."),
    "enroll": LazyCommand(
        "trocar.runtime.enroll:command", "Teach a classifier a class from photographs."
    ),
    "benchmark": LazyCommand(
        "trocar.runtime.cli:benchmark", "Time every back end and precision on this machine."
    ),
    "inspect": LazyCommand("trocar.runtime.cli:inspect", "Print what a bundle is."),
    "report": LazyCommand("trocar.report:report", "Write one HTML page about runs."),
    "doctor": LazyCommand("trocar.doctor:doctor", "Look for what is wrong with this machine."),
}

# The package to install, by the module whose import failed; the extras of setup.py hold them all.
_EXTRA_OF_MODULE = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "segmentation_models_pytorch": "train",
    "lightning_fabric": "train",
    "torchmetrics": "train",
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


class LazyGroup(click.Group):
    """A group whose commands are named in `COMMANDS` and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command.

        Raises:
            MissingExtraError: A package that it needs is not installed; says which extra has it.
        """
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest known names to click's word on an unknown command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
