"""Finds the examples of the repository: in docstrings, Markdown files and backticks.

for example in examples_of_docstring("Purpose.\n\nload('x')  # a dict\n", "file.py"): ...
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["python", "shell", "broken"]

_SHELL = re.compile(r"^\$? ?(?:[A-Z_]+=\S+ )*(trocar [a-z-]|(?:\S*/)?python3? \S|torchrun \S)")
_CODE = re.compile(
    r"^(@?[A-Za-z_][\w.]*\(|(from|import|raise|class) \w|[A-Z_]+\[\""
    r"|[A-Za-z_]\w*(, \w+)* = [^`]|(with|for|if) .*:)"
)


@dataclass(frozen=True)
class Example:
    """One example: its file, what it is, and its text."""

    file: str
    kind: Kind
    text: str


def examples_of_docstring(docstring: str, file: str) -> Iterator[Example]:
    """Examples are paragraphs of commands, or paragraphs that are Python code."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip("\n"))
    for paragraph in paragraphs[1:]:
        text = textwrap.dedent(paragraph).strip("\n")
        if _SHELL.match(text):
            yield from shell_examples(text, file)
        elif _CODE.match(text) and not is_toml(text):
            code = parsed(text)
            yield Example(file, "broken" if code is None else "python", code or text)


def is_example(paragraph: str) -> bool:
    """Whether a paragraph of a docstring is commands or code."""
    return bool(_SHELL.match(paragraph) or _CODE.match(paragraph))


def parsed(text: str) -> str | None:
    """The text as Python that parses; a decorator alone gets a function. ``None``: no Python."""
    text = text.replace("…", "...")
    for tail in ("", "\ndef _(): ..."):
        try:
            ast.parse(text + tail)
        except SyntaxError:
            continue
        return text + tail
    return None


def is_toml(text: str) -> bool:
    """Whether a text with a table or with several keys is TOML."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def shell_examples(text: str, file: str) -> Iterator[Example]:
    """Command lines of a text; a line that ends with a backslash goes on in the next."""
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        # A remark may follow after three spaces.
        command = re.split(r"\s{3,}(?!-)", line.strip())[0]
        if _SHELL.match(command):
            yield Example(file, "shell", command.removeprefix("$ "))


def examples_of_markdown(text: str, file: str) -> Iterator[Example]:
    """Python blocks, and the command lines of all other blocks."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            code = parsed(block)
            yield Example(file, "broken" if code is None else "python", code or block)
        elif language in ("", "sh", "bash", "console"):
            yield from shell_examples(block, file)


def commands_in_backticks(text: str) -> list[str]:
    """Partial command lines of a prose text, such as ```trocar run --live```."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"(?<!`)`{1,2}(trocar [^`]+?)`{1,2}(?!`)", prose)
    return [" ".join(command.split()) for command in found]


def names_in_backticks(text: str) -> list[str]:
    """Dotted names of Trocar in backticks, such as ```trocar.runtime.Session```."""
    names = re.findall(r"`(trocar(?:\.\w+)+)(?:\(\))?`", text)
    return [name for name in names if not name.endswith((".h", ".hpp"))]


def docstrings(source: str) -> list[str]:
    """The docstrings of a file, the module's first."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, owners)]
    return [text for node in nodes if (text := ast.get_docstring(node))]
