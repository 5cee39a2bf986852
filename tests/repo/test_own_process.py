"""No test signals or ends its own process: that would end a worker which runs others too."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from own_process import in_own_process
from places import ROOT

OWN = {"getpid", "getppid", "getpgrp", "getpgid"}
ALWAYS = {"raise_signal", "interrupt_main", "pthread_kill", "abort", "_exit", "alarm", "setitimer"}
MODULES = {"os", "signal", "_thread"}


def signalled(text: str) -> list[int]:
    """Lines that signal or end the process in which they run; texts for other processes are none.

    A process is one's own where it is named by `os.getpid()` and its like, by a name that was given
    such a value in the same file, or by 0 or -1, which are whole groups.
    """
    tree = ast.parse(text)
    own = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and called(node.value) in OWN
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (called(node) in ALWAYS and module_of(node) in MODULES)
            or (called(node) in {"kill", "killpg"} and node.args and is_own(node.args[0], own))
        )
    )


def called(node: ast.expr) -> str:
    """Name of the function that is called; empty where it is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", "") or getattr(node.func, "id", "")


def module_of(node: ast.Call) -> str:
    """What stands before the dot; a bare name counts as of such a module."""
    if isinstance(node.func, ast.Name):
        return "os"
    value = getattr(node.func, "value", None)
    return value.id if isinstance(value, ast.Name) else ""


def is_own(process: ast.expr, names: set[str]) -> bool:
    if called(process) in OWN or (isinstance(process, ast.Name) and process.id in names):
        return True
    return ast.unparse(process) in ("0", "-1")


def test_no_test_signals_its_own_process() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (lines := signalled(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "run that part by tests/support/own_process.py"


def test_every_way_is_seen() -> None:
    lines = [
        "os.kill(os.getpid(), signal.SIGINT)",
        "kill(getpid(), 2)",
        "os.killpg(os.getpgrp(), 15)",
        "os.kill(0, 9)",
        "os.kill(-1, 9)",
        "signal.raise_signal(2)",
        "_thread.interrupt_main()",
        "os.abort()",
        "os._exit(1)",
        "me = os.getpid(); os.kill(me, 9)",
    ]
    assert signalled("\n".join(lines)) == list(range(1, len(lines) + 1))
    others = "os.kill(process.pid, 9)\nprocess.kill()\nanswer.abort()\nCODE = 'os._exit(0)'\n"
    assert signalled(others) == []


def test_a_part_in_its_own_process_ends_alone() -> None:
    code = "import os, sys; print(sys.argv[1:], flush=True); os.kill(os.getpid(), 15)"
    done = in_own_process(code, "a", 1)
    assert (done.returncode, done.stdout) == (-15, "['a', '1']\n")
    assert in_own_process("import trocar; print(trocar.__path__[0])").stdout.strip() == str(
        Path(ROOT / "trocar")
    )


WORKERS = """
import sys
import pytest
sys.path.insert(0, sys.argv[1])
sys.exit(pytest.main([sys.argv[2], "-n", "1", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]))
"""


def test_how_a_worker_ended_is_told(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    test = "import os\ndef test_dies(): os.kill(os.getpid(), 9)\ndef test_lives(): pass\n"
    (tmp_path / "test_a.py").write_text(test)
    done = in_own_process(WORKERS, ROOT / "tests" / "support", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ended by SIGKILL; the largest of the processes" in done.stderr
    assert "crashed while running 'test_a.py::test_dies'" in done.stdout
