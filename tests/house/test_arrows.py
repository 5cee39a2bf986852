"""Who may know whom: the imports of every file, read from its source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("contract", "train", "export", "runtime", "cuda_kernels")
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


def sources(room: str) -> list[Path]:
    return sorted(p for p in (ROOT / room).rglob("*.py") if "build" not in p.parts)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is meant"
            module = node.module or ""
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def rooms_imported(path: Path) -> set[str]:
    """Rooms, and ``roof`` for any other module of the package."""
    rooms = set()
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "trocar":
            continue
        if len(parts) == 1 or name == "trocar.__version__":
            continue
        rooms.add(parts[1] if parts[1] in ROOMS else "roof")
    return rooms


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_know_only_whom_they_may(room: str) -> None:
    files = sources(room)
    assert files
    for path in files:
        strangers = rooms_imported(path) - MAY_IMPORT[room] - {room}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


@pytest.mark.parametrize("folder", [*ROOMS, "trocar", "tests", "benchmarks"])
def test_no_second_copy_of_a_room_is_imported(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        if folder == "trocar" and path.relative_to(ROOT / folder).parts[0] in ROOMS:
            continue
        wrong = {n for n in imports_of(path) if n.split(".")[0] in ROOMS}
        assert not wrong, f"{path.relative_to(ROOT)}: write trocar.{sorted(wrong)[0]}"


@pytest.mark.parametrize("room", ["runtime", "contract"])
def test_deployment_rooms_name_no_training_package(room: str) -> None:
    for path in sources(room):
        wrong = {n.split(".")[0] for n in imports_of(path)} & NEVER_IN_RUNTIME
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


def test_the_rule_itself_sees_a_wrong_arrow(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from trocar.train.loop import x\n    import trocar.cli\n")
    assert rooms_imported(bad) == {"train", "roof"}
