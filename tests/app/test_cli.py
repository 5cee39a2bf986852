"""The command line: help without heavy imports, defaults that are shown, errors with a remedy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from trocar.cli import cli, command_names, find_command, help_sections, main, mark_optional
from trocar.contract.errors import ERRORS


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trocar.cli", *args], capture_output=True, text=True, check=False
    )


def commands_below(
    command: click.Command, name: str, parent: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """A command and all commands of it, each with the context that prints its help."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=200)
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for part in command.list_commands(context):
            found = command.get_command(context, part)
            assert found is not None, (
                f"{context.command_path} lists {part}, and has no such command"
            )
            yield from commands_below(found, part, context)


def root() -> click.Context:
    return click.Context(cli, info_name="trocar", **cli.context_settings)


def faults_of_help(command: click.Command, context: click.Context) -> list[str]:
    """Options whose line of the help says neither a default, nor required, nor optional."""
    faults = []
    for option in command.get_params(context):
        if not isinstance(option, click.Option) or option.hidden:
            continue
        names, text = option.get_help_record(context) or ("", "")
        if not option.help:
            faults.append(f"{names}: no help text")
        elif not option.is_flag and not re.search(
            r"\[(default: |required|optional)|; required\]",
            text.replace("; default: ", "[default: "),
        ):
            faults.append(f"{names}: {text}")
    return faults  # fmt: skip


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys\nfrom trocar.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'onnxruntime', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("name", command_names())
def test_help_shows_defaults_and_what_is_optional(name: str) -> None:
    for path, command, context in commands_below(find_command(name), name, root()):
        assert command.help, f"{path} has no help"
        assert faults_of_help(command, context) == [], path


def test_help_without_a_default_is_seen() -> None:
    @click.command()
    @click.option("--shown", default=3, help="A number.")
    @click.option("--needed", required=True, help="A name.")
    @click.option("--silent", help="A path.")
    @click.option("--bare", default=1)
    @click.option("--flag", is_flag=True, help="A flag.")
    def command() -> None:
        """Does nothing."""

    context = click.Context(command, parent=root())
    faults = faults_of_help(command, context)
    assert [fault.split()[0] for fault in faults] == ["--silent", "--bare"]
    # Without the root's context settings no default is printed.
    assert len(faults_of_help(command, click.Context(command))) == 3
    assert len(faults_of_help(mark_optional(command), context)) == 1
    assert mark_optional(command).params[2].help == "A path.  [optional]"
    group = click.Group("group", commands=[click.Command("part", params=[click.Option(["--x"])])])
    part = mark_optional(group).get_command(context, "part")
    assert part is not None
    assert part.params[0].help == "  [optional]"  # type: ignore[attr-defined]


def test_every_command_is_in_one_section_of_the_help() -> None:
    sections = help_sections()
    assert sorted(name for names in sections.values() for name in names) == command_names()
    assert "Other" not in sections
    shown = run("--help").stdout
    places = [shown.index(f"\n  {name} ") for names in sections.values() for name in names]
    assert places == sorted(places)


def test_an_unknown_command_gets_the_nearest_name() -> None:
    done = run("exprot")
    assert done.returncode == 2
    assert "Did you mean export?" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_prints_its_remedy_and_returns_its_code(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["inspect", str(tmp_path)])
    assert stop.value.code == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "manifest.json" in err
    assert "→" in err


def test_codes_are_unique_and_never_zero() -> None:
    codes = [error.code for error in ERRORS]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
