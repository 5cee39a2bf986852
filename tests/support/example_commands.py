"""Checks command lines against the real commands, without running them.

faults_of_command("trocar evaluate model.trocar data --split test")     # []
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
from example_binding import load
from places import ROOT

from trocar.cli import cli

_PLACEHOLDER = re.compile(r"^(…|\.\.\.|<.*>|[A-Z][A-Z0-9_.:]*|.*…)$")


def faults_of_command(line: str, *, complete: bool = True) -> list[str]:
    """What is wrong with a command line; nothing for programs that are not ours.

    Args:
        line: One command line, e.g. of a README.
        complete: Whether required arguments must be there; ``False`` for a mention in prose.
    """
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return [f"{line}: {error}"]
    words = _before_pipe([word for word in words if not re.match(r"^[A-Z_]+=", word)])
    words = [word.strip("[]") for word in words]
    complete = complete and not any("…" in word or word == "..." for word in words)
    if words[:1] == ["trocar"]:
        arguments = words[1:]
    elif "-m" in words and words[words.index("-m") + 1 :][:1] == ["trocar.cli"]:
        arguments = words[words.index("-m") + 2 :]
    elif module := next((w for w in words if w.startswith("trocar.")), "") if "-m" in words else "":
        return [f"{line}: there is no module {module}"] if load(module) is None else []
    elif any(word.startswith("benchmarks/") for word in words):
        return [f"{line}: {fault}" for fault in _faults_of_program(words)]
    else:
        return []
    context = click.Context(cli, info_name="trocar", **cli.context_settings)
    return [f"{line}: {fault}" for fault in _faults(cli, context, arguments, complete)]


def _before_pipe(words: list[str]) -> list[str]:
    ends = [i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "2>", "&")]
    return words[: ends[0]] if ends else words


def _faults(
    command: click.Command, context: click.Context, words: list[str], complete: bool
) -> list[str]:
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-") or _PLACEHOLDER.match(words[0]):
            return [f"no option {word}" for word in words[:1] if _unknown(command, context, word)]
        found = command.get_command(context, words[0])
        if found is None:
            return [f"no command {words[0]!r}"]
        context = click.Context(found, info_name=words[0], parent=context)
        command, words = found, words[1:]
    words = [word for word in words if word not in ("…", "...")]
    parser = command.make_parser(context)
    try:
        values, _, _ = parser.parse_args(args=list(words))
    except click.UsageError as error:
        # A mention in prose may name an option without its value.
        partial = not complete and "requires an argument" in error.format_message()
        return [] if partial else [error.format_message()]
    # Help needs no arguments, and a configuration file may hold them.
    words_that_complete = {"--help", "-h", "--config"}
    faults = []
    for parameter in command.get_params(context):
        value = values.get(parameter.name)
        given = value not in (None, ()) and "UNSET" not in repr(value)
        if given:
            faults += _faults_of_value(parameter, context, value)
        elif parameter.required and complete and not words_that_complete & set(words):
            faults.append(f"{parameter.human_readable_name} is missing")
    return faults


def _unknown(command: click.Command, context: click.Context, word: str) -> bool:
    names = {name for option in command.get_params(context) for name in option.opts}
    return word.startswith("-") and word not in names


def _faults_of_value(
    parameter: click.Parameter, context: click.Context, value: object
) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    metavar = (parameter.metavar or "").strip("[]")
    # Alternatives in capitals, such as FILE|URL, are no choices.
    choices = metavar.split("|") if "|" in metavar and metavar.islower() else []
    faults = []
    for text in values:
        if not isinstance(text, str) or _PLACEHOLDER.match(text):
            continue
        if choices and text not in choices:
            faults.append(f"{parameter.opts[0]} {text} is none of {', '.join(choices)}")
        if isinstance(parameter.type, click.Path) or parameter.nargs != 1:
            continue
        try:
            parameter.type.convert(text, parameter, context)
        except click.UsageError as error:
            faults.append(error.format_message())
    return faults


def _faults_of_program(words: list[str]) -> list[str]:
    """A benchmark must exist, and the text of it or of its helpers must name each option."""
    start = next(i for i, word in enumerate(words) if word.startswith("benchmarks/"))
    program = ROOT / words[start]
    if program.suffix != ".py":
        return []
    if not program.is_file():
        return [f"there is no {words[start]}"]
    known = _options_of(program, set())
    used = [word.partition("=")[0] for word in words[start + 1 :] if word.startswith("--")]
    return [f"{words[start]} has no option {option}" for option in used if option not in known]


def _options_of(program: Path, seen: set[Path]) -> set[str]:
    if program in seen:
        return set()
    seen.add(program)
    found = {"--help"}
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names]
            for name in names:
                for helper in (ROOT / "benchmarks").rglob(f"{name.rpartition('.')[2]}.py"):
                    found |= _options_of(helper, seen)
    return found
