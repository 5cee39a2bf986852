"""`trocar run --help` and the commands of ``docs/runtime.md``: groups, defaults, known flags."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner
from places import ROOT

from trocar.cli import find_command
from trocar.commands.run import run

GROUPS = {
    "Input": "--max-frames",
    "Model": "--device",
    "Instruments": "--classifier",
    "Over time": "--max-lost",
    "Privacy": "--inside-above",
    "Outputs": "--save-masks",
    "Video encoding": "--quality",
    "Live": "--deadline-ms",
    "Archive": "--ray",
    "Configuration": "--save-config",
}
GUIDE = (ROOT / "docs" / "runtime.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if not language
]


def sections() -> dict[str, str]:
    """The help text by group."""
    text = CliRunner().invoke(run, ["--help"], terminal_width=200).output
    parts = re.split(r"^(\w[\w ]*):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options() -> list[click.Option]:
    return [parameter for parameter in run.params if isinstance(parameter, click.Option)]


def test_every_option_stands_in_one_group() -> None:
    found = sections()
    assert list(found) == [*GROUPS, "Other options"]
    for title, flag in GROUPS.items():
        assert f"  {flag} " in found[title]
    assert re.findall(r"--[\w-]+", found["Other options"]) == ["--help"]
    for option in options():
        hits = [title for title, text in found.items() if f"  {option.opts[0]} " in text]
        assert len(hits) == 1, option.opts[0]


def test_every_default_and_every_choice_is_shown() -> None:
    text = re.sub(r"\s+", " ", "".join(sections().values())).strip()
    lines = {part.split()[0]: part for part in re.split(r" (?=--[a-z])", text)}
    shown = 0
    for option in options():
        line = lines[option.opts[0]]
        default = option.to_info_dict()["default"]
        if not option.is_flag and default not in (None, ()):
            assert f"default: {default}" in line
            shown += 1
        if isinstance(option.type, click.Choice):
            assert f"[{'|'.join(option.type.choices)}]" in line
    assert shown == 10


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_guide_parses(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "trocar"
    if "--config" in words:
        # The file is written by the line before.
        place = words.index("--config")
        del words[place : place + 2]
        words[2:2] = ["model.trocar", "video.mp4"]
    command = find_command(words[1])
    command.make_context(words[1], words[2:])


def test_every_flag_that_the_guide_names_exists() -> None:
    known = {
        name
        for command in ("run", "benchmark", "evaluate", "export", "inspect", "verify")
        for parameter in find_command(command).params
        for name in parameter.opts
    }
    flags = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", GUIDE)) - {"--fps"}  # benchmarks/soak.py
    assert len(flags) > 30
    assert flags <= known
