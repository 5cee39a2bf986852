"""Every example of docstrings, README and docs: names and keywords exist, commands parse."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from example_binding import faults_of_code, faults_of_name
from example_commands import faults_of_command
from example_sources import (
    Example,
    commands_in_backticks,
    docstrings,
    examples_of_docstring,
    examples_of_markdown,
    names_in_backticks,
)
from places import ROOT

PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels", "trocar", "benchmarks")
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)


def python_files(package: str) -> list[Path]:
    """Python files of a folder, but those behind the links of ``trocar/`` and in ``cpp/``."""
    files = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).parts
        linked = package == "trocar" and (ROOT / "trocar" / parts[0]).is_symlink()
        if not linked and "cpp" not in parts:
            files.append(path)
    return files


def import_name(path: Path) -> str:
    """``export/gate.py`` is ``trocar.export.gate``; benchmarks have names of one part."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "benchmarks":
        return ".".join(parts)
    parts = parts if parts[0] == "trocar" else ("trocar", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def faults_of_example(example: Example, module: str | None = None) -> list[str]:
    if example.kind == "broken":
        faults = ["does not parse: " + example.text.splitlines()[0]]
    elif example.kind == "shell":
        faults = faults_of_command(example.text)
    else:
        faults = faults_of_code(example.text, module)
    return [f"{example.file}: {fault}" for fault in faults]


def faults_of_prose(text: str, file: str) -> list[str]:
    faults = [
        fault
        for command in commands_in_backticks(text)
        for fault in faults_of_command(command, complete=False)
    ]
    faults += [fault for name in names_in_backticks(text) for fault in faults_of_name(name)]
    return [f"{file}: {fault}" for fault in faults]


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_of_docstrings_bind(package: str) -> None:
    faults: list[str] = []
    count = 0
    for path in python_files(package):
        source = path.read_text(encoding="utf-8")
        file = str(path.relative_to(ROOT))
        module = ast.get_docstring(ast.parse(source)) or ""
        for example in examples_of_docstring(module, file):
            count += 1
            faults += faults_of_example(example, import_name(path))
        for docstring in docstrings(source):
            faults += faults_of_prose(docstring, file)
    assert count > 5
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_modules_have_an_example(package: str) -> None:
    """A module opens with its purpose and an example; packages and parts of commands need none."""
    without = []
    for path in python_files(package):
        module = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        # A reader of a data set shows the layout of its folder instead.
        is_part = path.name == "__init__.py" or {"_data", "readers"} & set(path.parts)
        if not is_part and not list(examples_of_docstring(module, path.name)):
            without.append(str(path.relative_to(ROOT)))
    assert not without, "no example that the checker reads in: " + ", ".join(without)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_examples_of_documents_bind(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    faults = [
        fault
        for example in examples_of_markdown(text, str(document))
        for fault in faults_of_example(example)
    ]
    # The change log names commands and modules of earlier versions.
    if document.name != "CHANGELOG.md":
        faults += faults_of_prose(text, str(document))
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)


MODULE = "trocar.evaluation.metrics.bootstrap"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from trocar.runtime import Sessions", "has no Sessions"),
        ("import trocar.nothing", "no module trocar.nothing"),
        ("intervals([1.0])", "intervals() does not exist"),
        ("interval([1.0], group=videos)", "unexpected keyword argument 'group'"),
        ("interval()", "missing a required argument: 'values'"),
        ("paired(a, b).verdicts", "PairedDifference has no verdicts"),
        ("found = paired(a, b)\nfound.winners()", "PairedDifference has no winners"),
        ("from trocar.runtime import Session\nSession.opened('x')", "Session has no opened"),
        (
            "from trocar.runtime import Session\ns = Session.open('x')\ns.run(frame, size=3)",
            "unexpected keyword argument 'size'",
        ),
        ("with open('x') as f: interval(f, levels=1)", "'levels'"),
    ],
)
def test_a_bad_python_example_is_caught(code: str, fault: str) -> None:
    faults = faults_of_code(code, MODULE)
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    "code",
    [
        "interval(values, groups=videos)[0]",
        "paired(a, b, seed=1).verdict",
        "from trocar.runtime import Session\nfor i in Session.open('x').run(f).instruments: i.x",
        "Path('x').anything(1, b=2)",
        "interval(..., level=0.9)",
    ],
)
def test_a_good_python_example_passes(code: str) -> None:
    assert faults_of_code(code, MODULE) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("trocar exprot runs/first", "no command 'exprot'"),
        ("trocar data frame videos/", "no command 'frame'"),
        ("trocar evaluate m.trocar data --splits test", "--splits"),
        ("trocar evaluate m.trocar", "DATA is missing"),
        ("trocar prelabel m pool out --format cocoa", "'cocoa' is not one of"),
        ("trocar demo --steps few", "'few' is not a valid integer"),
        (
            "torchrun --nproc-per-node 4 -m trocar.cli train super data/",
            "no command 'super'",
        ),
        ("python -m trocar.nothing --help", "no module trocar.nothing"),
        ("python benchmarks/nothing.py", "there is no benchmarks/nothing.py"),
        ("python benchmarks/glcm.py --nothing", "has no option --nothing"),
    ],
)
def test_a_bad_command_is_caught(line: str, fault: str) -> None:
    faults = faults_of_command(line)
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    "line",
    [
        "trocar evaluate MODEL data/ --split test --out scores",
        "trocar report … --out folds.html",
        "TROCAR_DEBUG=1 trocar doctor --json | head",
        "trocar --version",
        "pip install '.[train]'",
    ],
)
def test_a_good_command_passes(line: str) -> None:
    assert faults_of_command(line) == []


def test_examples_are_found_and_prose_is_not() -> None:
    text = (
        "Purpose (of it).\n\nload('x')    # a dict\n\nA call (like this one) is prose.\n\n"
        "trocar doctor        a table\n$ trocar demo \\\n    --small\n\nx = f(\n"
    )
    found = [(e.kind, e.text) for e in examples_of_docstring(text, "f")]
    assert found == [
        ("python", "load('x')    # a dict"),
        ("shell", "trocar doctor"),
        ("shell", "trocar demo --small"),
        ("broken", "x = f("),
    ]
    markdown = (
        "Use `trocar run --live` of `trocar.runtime`.\n```python\nf(\n```\n```\ntrocar demo\n```\n"
    )
    assert [e.kind for e in examples_of_markdown(markdown, "f")] == ["broken", "shell"]
    assert commands_in_backticks(markdown) == ["trocar run --live"]
    assert names_in_backticks(markdown) == ["trocar.runtime"]
    faults = faults_of_prose("`trocar run --alive`, `trocar.nowhere`, `trocar data`", "f")
    assert len(faults) == 2
    assert faults[0].startswith("f: trocar run --alive: No such option '--alive'.")
    assert faults[1] == "f: trocar.nowhere does not exist"
