"""Registers and spills of the compiled kernels, against the committed table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from trocar.cuda_kernels import build
from trocar.cuda_kernels.build import (
    CONFIGURATIONS,
    Summary,
    blocks_per_sm,
    measure,
    read_summary,
    summarise,
    summary_table,
)
from trocar.cuda_kernels.compilation.compilers import KernelUsage, Nvrtc
from trocar.cuda_kernels.compilation.sources import ARCHITECTURES

TABLE = (ROOT / "benchmarks" / "results" / "kernel_resources.md").read_text(encoding="utf-8")
MAX_SPILL = 64
"""Bytes a thread, for compilers other than the one of the table."""


def key(row) -> tuple[str, str, str]:
    return row.file, row.choices, getattr(row, "kernel", None) or row.usage.kernel


DOCUMENTED = {key(summary): summary for summary in read_summary(TABLE)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_and_spills_are_those_of_the_table(
    nvrtc: Nvrtc, architecture: str, monkeypatch
) -> None:
    """Eight classes on every architecture, and every configuration on one of them."""
    if architecture != "sm_90":
        few = [
            c for c in CONFIGURATIONS if ("CLASSES", "8") in c[1] and ("SCALAR", "float") in c[1]
        ]
        few += [CONFIGURATIONS[0], ("entropy.cu", (("COUNT", "float"),)), CONFIGURATIONS[-1]]
        few += [
            c
            for c in CONFIGURATIONS
            if c[0].startswith(("location", "nv12")) and "char" not in str(c[1])
        ]
        monkeypatch.setattr(build, "CONFIGURATIONS", few)
    rows = list(measure(nvrtc, [architecture]))
    assert len({row.file for row in rows}) == (9 if architecture == "sm_75" else 10)
    for row in rows:
        documented, usage = DOCUMENTED[key(row)], row.usage
        if f"compiler: {nvrtc.name}\n" in TABLE:
            assert documented.allows(usage), f"{row} is outside {documented}"
        else:
            assert usage.spill_stores <= MAX_SPILL
        if row.file == "soft_backward.cu" and row.choices.split()[0] != "double":
            few_classes = int(row.choices.split()[1]) <= 16
            if few_classes and usage.kernel != "argmax_labels":
                assert blocks_per_sm(usage.registers) >= 4


def test_the_table_has_every_configuration() -> None:
    choices = {
        (file, " ".join(value.removeprefix("portable::") for _, value in defines))
        for file, defines in CONFIGURATIONS
    }
    assert {name[:2] for name in DOCUMENTED} == choices


def test_a_usage_outside_the_table_is_refused() -> None:
    summary = Summary("a.cu", "int", "k", 30, 32, 4, 8)
    assert summary.allows(KernelUsage("k", 31, 0, 8))
    for usage in ((33, 0, 0), (29, 0, 0), (30, 8, 0), (30, 0, 12)):
        assert not summary.allows(KernelUsage("k", *usage))
    assert read_summary(f"text\n\n{summary_table([summary])}\ntext") == [summary]


@pytest.mark.parametrize(("registers", "blocks"), [(64, 4), (65, 3), (72, 3), (128, 2), (255, 1)])
def test_blocks_follow_from_registers(registers: int, blocks: int) -> None:
    assert blocks_per_sm(registers) == blocks


def test_the_command_prints_one_row_per_kernel(nvrtc: Nvrtc, tmp_path: Path) -> None:
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "trocar.cuda_kernels.build"),
            *("--architecture", "sm_75", "sm_90", "--file", "entropy.cu"),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    for architecture in ("sm_75", "sm_90"):
        assert f"| entropy.cu | float | entropy_backward | {architecture} |" in completed.stdout


def test_the_summary_covers_the_architectures(nvrtc: Nvrtc, capsys) -> None:
    words = ["--summary", "--file", "entropy.cu", "--architecture", "sm_75", "sm_90"]
    assert build.main(words) == 0
    rows = list(measure(nvrtc, ["sm_75", "sm_90"], "entropy.cu"))
    assert read_summary(capsys.readouterr().out) == summarise(rows)
