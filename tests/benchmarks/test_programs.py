"""Every program of ``benchmarks/`` starts: its imports resolve and it prints its help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

BENCHMARKS = ROOT / "benchmarks"
PROGRAMS = sorted(BENCHMARKS.glob("*.py"))
RUN_ALL = """
import contextlib, io, json, runpy, sys, traceback
sys.path.insert(0, sys.argv[1])
results = {}
for program in sys.argv[2:]:
    sys.argv = [program, "--help"]
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            runpy.run_path(program, run_name="__main__")
        code = None
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        code = traceback.format_exc()
    results[program] = [code, text.getvalue()]
print(json.dumps(results))
"""


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def help_of(programs: list[Path], folder: Path) -> dict[str, list]:
    """Exit status, or the traceback, and the output of each program, all in one process."""
    completed = run(["-c", RUN_ALL, str(BENCHMARKS), *map(str, programs)], folder)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout.splitlines()[-1])


def test_every_program_prints_its_help(tmp_path: Path) -> None:
    results = help_of(PROGRAMS, tmp_path)
    assert len(results) == len(PROGRAMS)
    for program, (status, text) in results.items():
        assert status == 0, f"{program}: {status}"
        assert text.lower().startswith("usage:"), program
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["live_tracking", "phantom_speed"])
def test_a_program_runs_from_any_folder(name: str, tmp_path: Path) -> None:
    completed = run([str(BENCHMARKS / f"{name}.py"), "--help"], tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.startswith("usage:")


@pytest.mark.parametrize("module", ["trocar.no_such_module", "helpers.live.no_such_module"])
def test_a_broken_import_is_seen(module: str, tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    text = (BENCHMARKS / "phantom_speed.py").read_text(encoding="utf-8")
    program.write_text(
        text.replace("import argparse\n", f"import argparse\nimport {module}\n", 1),
        encoding="utf-8",
    )
    ((status, _),) = help_of([program], tmp_path).values()
    assert "ModuleNotFoundError" in status
    assert "no_such_module" in status


def test_only_programs_are_at_the_root() -> None:
    for path in PROGRAMS:
        assert 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"), path.name
    for path in (BENCHMARKS / "helpers").rglob("*.py"):
        assert "__main__" not in path.read_text(encoding="utf-8"), path.name
    folders = {path.name for path in BENCHMARKS.iterdir() if path.is_dir()}
    assert not folders & {path.stem for path in PROGRAMS}
