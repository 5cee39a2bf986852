"""The command line; a command is imported when it is called, so that `trocar --help` is fast.

trocar demo
trocar train supervised data/ --out runs/first
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from trocar import __version__
from trocar.commands import HELP_SECTIONS
from trocar.commands._by_file import CommandsByFile, command_files, summary_of
from trocar.contract.errors import (
    DataError,
    InterruptedByUserError,
    MissingExtraError,
    TrocarError,
)

_COMMANDS = Path(__file__).parent / "commands"

# The extra of setup.py that installs a module whose import failed.
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
    "pycocotools": "train",
    "yaml": "train",
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxscript": "export",
    "tensorrt": "tensorrt",
    "pycuda": "pycuda",
    "cuda": "gpu",
    "tensorrt_rtx": "rtx",
    "openvino": "openvino",
    "cryptography": "signing",
    "optuna": "tune",
}


def command_names() -> list[str]:
    """Names of the commands: the files of ``trocar/commands``, with dashes; imports none."""
    return list(command_files(_COMMANDS))


def help_sections() -> dict[str, list[str]]:
    """Names of the commands by section of `trocar --help`; "Other" has those of no section."""
    names = command_names()
    sections = {
        title: [name for name in wanted if name in names] for title, wanted in HELP_SECTIONS.items()
    }
    listed = {name for group in sections.values() for name in group}
    sections["Other"] = [name for name in names if name not in listed]
    return {title: group for title, group in sections.items() if group}


def find_command(name: str) -> click.Command:
    """Imports the command of that name, one of `command_names`.

    Raises:
        ModuleNotFoundError: A package that it needs is not installed.
    """
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def mark_optional(command: click.Command) -> click.Command:
    """Adds ``[optional]`` to the help of options that have no default and are not required.

    The commands of a group are marked when the group gives them.
    """
    for option in command.params:
        if isinstance(option, click.Option) and _lacks_default(option):
            option.help = f"{(option.help or '').rstrip()}  [optional]"
    if isinstance(command, click.Group):
        find = command.get_command

        def get_command(ctx: click.Context, cmd_name: str) -> click.Command | None:
            part = find(ctx, cmd_name)
            return None if part is None else mark_optional(part)

        command.get_command = get_command  # type: ignore[method-assign]
    return command


def _lacks_default(option: click.Option) -> bool:
    text = option.help or ""
    says = option.required or option.is_flag or "[default: " in text or "[optional]" in text
    return not says and option.to_info_dict()["default"] in (None, ())


class CommandsBySection(CommandsByFile):
    """The commands of ``trocar/commands``, listed by section in `trocar --help`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports one command and marks its optional options.

        Raises:
            ModuleNotFoundError: A package that it needs is not installed.
        """
        command = super().get_command(ctx, cmd_name)
        return None if command is None else mark_optional(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands by section without importing any of them."""
        files = command_files(_COMMANDS)
        width = max(map(len, files))
        for title, names in help_sections().items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary_of(files[name])) for name in names])


@click.group(
    cls=CommandsBySection,
    folder=_COMMANDS,
    package="trocar.commands",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name="trocar")
def cli() -> None:
    """From labelled surgical frames to instruments found in live video.

    Start with `trocar demo`. For research use only; not a medical device.
    """


def main(args: list[str] | None = None) -> None:
    """Runs the command line; an expected error prints its message and remedy, no traceback.

    The exit code is the error's status code (see `trocar.contract.errors`), 2 for wrong usage and
    130 for Ctrl-C. With ``TROCAR_DEBUG=1`` the traceback is printed.
    """
    if os.environ.get("TROCAR_DEBUG"):
        cli(args)
    try:
        with stopped_by_signals():
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
        # The reader of the output has closed it (`trocar … | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        # What the system says of a path, e.g. that its name is too long or that it is not readable.
        if error.filename is None:
            raise
        _fail(
            DataError(
                f"cannot use {str(error.filename)[:200]!r}: {error.strerror}",
                remedy="name another path, or correct its permissions",
            )
        )


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end a command like Ctrl-C: what is half-written is removed.

    A signal that is ignored (`nohup`) stays ignored. Processes that were forked end at once.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise InterruptedByUserError(
            f"stopped by {signal.Signals(number).name}", remedy="start it again"
        )

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    except ValueError:  # Not the main thread (tests, embedding): the host handles its signals.
        yield
        return
    try:
        yield
    finally:
        for kept, handler in before.items():
            signal.signal(kept, handler)


def _fail(error: TrocarError) -> None:
    # Nobody may read the standard error any more; the exit code still tells.
    with contextlib.suppress(OSError):
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
