"""Who may import whom: every import of every file, in functions too, read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels")
MAY_IMPORT = {
    "contract": set(),
    "cuda_kernels": {"contract"},
    "train": {"contract", "cuda_kernels"},
    "export": {"contract"},
    "runtime": {"contract"},
}
NEVER_IN_RUNTIME = {
    "torch",
    "torchvision",
    "timm",
    "matplotlib",
    "onnx",
    "segmentation_models_pytorch",
}
ONLY_IN_COMMANDS = {"click"}
APPLICATION = "application"


def sources(package: str) -> list[Path]:
    """Python files of one package; ``cpp`` holds C++ and an example that is no module."""
    return sorted(p for p in (ROOT / package).rglob("*.py") if "cpp" not in p.parts)


def application_sources() -> list[Path]:
    """Files of ``trocar/`` that are not behind one of the five links."""
    root = ROOT / "trocar"
    return sorted(p for p in root.rglob("*.py") if p.relative_to(root).parts[0] not in PACKAGES)


def module_of(path: Path) -> str:
    """Import name of a file: ``export/gate.py`` is ``trocar.export.gate``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "trocar":
        parts = ("trocar", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str) -> set[str]:
    """Every name that a source imports, anywhere in it, and what `importlib` is told to import."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package is meant"
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(str(node.args[0].value))
    return names


def packages_imported(source: str) -> set[str]:
    """Packages of Trocar that a source imports; any other module of it is the application."""
    packages = set()
    for name in imports_of(source):
        parts = name.split(".")
        if parts[0] != "trocar" or len(parts) == 1 or name == "trocar.__version__":
            continue
        packages.add(parts[1] if parts[1] in PACKAGES else APPLICATION)
    return packages


def import_graph(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Modules to the modules that they import; a name inside a module counts for its module."""
    graph: dict[str, set[str]] = {}
    for module, text in texts.items():
        found = set()
        for name in imports_of(text):
            while name and name not in texts:
                name = name.rpartition(".")[0]
            # `from package import module` names the package too; the module alone is meant.
            if name and name != module:
                found.add(name)
        inner = {other for other in found if any(o.startswith(f"{other}.") for o in found)}
        graph[module] = found - inner
    return graph


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972), sorted."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in order:
            visit(node)
    return sorted(found)


def python_texts() -> dict[str, str]:
    paths = [path for package in PACKAGES for path in sources(package)] + application_sources()
    return {module_of(path): path.read_text(encoding="utf-8") for path in paths}


def include_graph(folder: Path) -> dict[str, set[str]]:
    """C++ and CUDA files to the files of the same tree that they include, by base name."""
    suffixes = {".cpp", ".hpp", ".h", ".c", ".cu", ".cuh"}
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix in suffixes and not any(p.startswith("build") for p in path.parts)
    ]
    names = {path.name for path in files}
    pattern = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
    return {
        path.name: {
            name
            for found in pattern.findall(path.read_text(encoding="utf-8"))
            if (name := found.rpartition("/")[2]) in names
        }
        for path in files
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    files = sources(package)
    assert files
    for path in files:
        wrong = packages_imported(path.read_text(encoding="utf-8")) - MAY_IMPORT[package]
        assert not wrong - {package}, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_no_circle_of_imports_in_python() -> None:
    assert circles(import_graph(python_texts())) == []


@pytest.mark.parametrize("folder", ["runtime/cpp", "cuda_kernels/kernels"])
def test_no_circle_of_includes(folder: str) -> None:
    graph = include_graph(ROOT / folder)
    assert any(graph.values())
    assert circles(graph) == []
    assert not [name for name, others in graph.items() if name in others]


@pytest.mark.parametrize("folder", [*PACKAGES, "trocar", "tests", "benchmarks"])
def test_no_second_copy_of_a_package_is_imported(folder: str) -> None:
    paths = application_sources() if folder == "trocar" else (ROOT / folder).rglob("*.py")
    for path in paths:
        names = imports_of(path.read_text(encoding="utf-8"))
        wrong = {n for n in names if n.split(".")[0] in PACKAGES}
        assert not wrong, f"{path.relative_to(ROOT)}: write trocar.{sorted(wrong)[0]}"


@pytest.mark.parametrize("package", ["runtime", "contract"])
def test_deployment_packages_name_no_training_package(package: str) -> None:
    for path in sources(package):
        names = imports_of(path.read_text(encoding="utf-8"))
        wrong = {n.split(".")[0] for n in names} & NEVER_IN_RUNTIME
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_only_commands_know_click(package: str) -> None:
    for path in sources(package):
        names = imports_of(path.read_text(encoding="utf-8"))
        wrong = {n.split(".")[0] for n in names} & ONLY_IN_COMMANDS
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("module", ["trocar.runtime", "trocar.cli", "trocar.contract.bundle"])
def test_import_brings_in_no_training_stack(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'matplotlib', 'onnx', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_a_planted_arrow_is_seen() -> None:
    planted = "def f():\n    from trocar.train.loop import x\n    import trocar.cli\n"
    assert packages_imported(planted) == {"train", APPLICATION}


def test_a_planted_circle_is_seen() -> None:
    texts = {
        "trocar.a": "def f():\n    from trocar.b import x\n",
        "trocar.b": "import importlib\nc = importlib.import_module('trocar.c.d')\n",
        "trocar.c": "",
        "trocar.c.d": "from trocar.a import f\n",
        "trocar.e": "from trocar.a import f\n",
    }
    assert circles(import_graph(texts)) == [["trocar.a", "trocar.b", "trocar.c.d"]]


def test_a_planted_circle_of_includes_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#include "b.h"\n')
    (tmp_path / "b.h").write_text('#include "folder/c.cuh"\n')
    (tmp_path / "c.cuh").write_text('# include "a.h"\n')
    assert circles(include_graph(tmp_path)) == [["a.h", "b.h", "c.cuh"]]
