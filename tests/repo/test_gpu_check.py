"""`scripts/gpu_check.sh` on a machine without a GPU: every stage is absent, and none fails."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from trocar.contract.tensorrt.gpu import find_gpu

SCRIPT = ROOT / "scripts" / "gpu_check.sh"


def check(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GPU_CHECK_OUT": str(out), "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )


@pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")
def test_every_stage_is_absent_without_a_gpu(tmp_path: Path) -> None:
    done = check(tmp_path, "--stages", "environment,7,processes")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "report.json").read_text().splitlines()]
    assert [(row["stage"], row["name"], row["state"]) for row in rows] == [
        (0, "environment", "absent"),
        (7, "onnxruntime", "absent"),
        (11, "processes", "absent"),
    ]
    assert {row["detail"] for row in rows} == {"no NVIDIA GPU here"}


def test_the_stages_of_both_scripts_are_the_same_and_fit_the_time(tmp_path: Path) -> None:
    listed = [line.split() for line in check(tmp_path, "--list").stdout.splitlines()]
    tree = ast.parse((ROOT / "scripts" / "gpu_stages.py").read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [name for _, name, _ in listed] == [n for n in functions if n in {r[1] for r in listed}]
    limits = [int(limit) for _, _, limit in listed]
    assert len(limits) == 12
    assert sum(limits[:7]) <= 540
    assert sum(limits[7:]) <= 360


def test_a_stage_that_does_not_exist_is_a_failure(tmp_path: Path) -> None:
    done = check(tmp_path, "--stages", "teleport")
    assert done.returncode == 1
    assert "there is no stage teleport" in done.stderr
