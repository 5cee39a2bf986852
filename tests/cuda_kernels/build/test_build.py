"""Compiling for real devices without one, and the cache of what was compiled."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.build import build, compilers
from trocar.cuda_kernels.build.build import binary_key, cached_binary
from trocar.cuda_kernels.build.compilers import ARCHITECTURES, Compiled, Nvcc, Nvrtc, find_nvrtc, usages

SOFT = (("SCALAR", "float"), ("CLASSES", "8"), ("FROM_LOGITS", "1"))
EVERY_KERNEL = (
    ("hard.cu", (("LABEL", "unsigned char"),), {"hard_counts"}),
    ("entropy.cu", (("COUNT", "float"),), {"entropy_forward", "entropy_backward"}),
    ("soft_forward.cu", SOFT, {"soft_forward", "sum_parts"}),
    ("soft_backward.cu", SOFT, {"soft_backward", "argmax_labels", "straight_backward"}),
    (
        "soft_forward_tensor.cu",
        (("SCALAR", "float"), ("CLASSES", "64"), ("FROM_LOGITS", "1")),
        {"soft_forward_tensor"},
    ),
)


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    library = find_nvrtc()
    if library is None:
        pytest.skip("no NVRTC: this torch was built without CUDA")
    return Nvrtc(library)


class Counting:
    """A compiler that only counts how often it is asked."""

    name = "counting 1.0"

    def __init__(self) -> None:
        self.asked = 0

    def compile(self, file, defines, architecture) -> Compiled:
        self.asked += 1
        return Compiled(f"{file} {defines} {architecture}".encode(), "")


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "compute_75"])
def test_every_architecture_compiles_without_spills(nvrtc, architecture: str) -> None:
    for file, defines, kernels in EVERY_KERNEL:
        if not build.fits(file, architecture):
            with pytest.raises(BackendError, match="needs sm_80"):
                nvrtc.compile(file, defines, architecture)
            continue
        done = nvrtc.compile(file, defines, architecture)
        if not architecture.startswith("sm_"):
            assert b".target sm_75" in done.binary
            assert all(b".entry " + kernel.encode() in done.binary for kernel in kernels)
            continue
        assert done.binary[:4] == b"\x7fELF"
        found = usages(done.log)
        assert {usage.kernel for usage in found} == kernels
        for usage in found:
            print(f"{architecture} {usage}")
            assert usage.spilled == 0
            assert 0 < usage.registers <= 255


@pytest.mark.parametrize("configuration", build.CONFIGURATIONS, ids=lambda c: f"{c[0]} {c[1]}")
def test_every_configuration_compiles(nvrtc, configuration) -> None:
    file, defines = configuration
    assert nvrtc.compile(file, defines, "sm_90").binary[:4] == b"\x7fELF"


def test_nvcc_compiles_the_same_sources() -> None:
    program = shutil.which("nvcc")
    if program is None:
        pytest.skip("no nvcc on the path")
    for file, defines in (("hard.cu", (("LABEL", "unsigned char"),)), ("soft_forward.cu", SOFT)):
        done = Nvcc(program).compile(file, defines, "sm_90")
        assert done.binary[:4] == b"\x7fELF"
        assert all(usage.spilled == 0 for usage in usages(done.log))
    assert usages(done.log)


def test_a_refused_source_names_compiler_and_cause(nvrtc) -> None:
    with pytest.raises(BackendError, match=r"(?s)nvrtc 1\d.* hard\.cu for sm_90.*error"):
        nvrtc.compile("hard.cu", (("LABEL", "no_such_type"),), "sm_90")


def test_the_cache_compiles_once_and_knows_what_changed(tmp_path, monkeypatch) -> None:
    compiler = Counting()

    def get(*what: object) -> bytes:
        return cached_binary(*what, compiler=compiler, folder=tmp_path)

    first = get("hard.cu", (), "sm_90")
    assert get("hard.cu", (), "sm_90") == first
    assert compiler.asked == 1
    get("hard.cu", (), "sm_80")
    get("hard.cu", (("LABEL", "int"),), "sm_90")
    get("entropy.cu", (), "sm_90")
    assert compiler.asked == 4
    assert len(list(tmp_path.iterdir())) == 4
    assert not list(tmp_path.glob("*.part"))

    changed = tmp_path / "kernels"
    shutil.copytree(compilers.KERNELS, changed)
    before = binary_key("hard.cu", (), "sm_90", "x")
    monkeypatch.setattr(build, "KERNELS", changed)
    assert binary_key("hard.cu", (), "sm_90", "x") == before
    header = changed / "portable.cuh"
    header.write_text(header.read_text() + "\n// another line\n")
    assert binary_key("hard.cu", (), "sm_90", "x") != before
    assert binary_key("hard.cu", (), "sm_90", "y") != binary_key("hard.cu", (), "sm_90", "x")


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    compiler = Counting()
    for _ in range(2):
        cached_binary("hard.cu", (), "sm_90", compiler=compiler, folder=blocked)
    assert compiler.asked == 2


def test_no_compiler_at_all_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers, "find_nvrtc", lambda: None)
    with pytest.raises(BackendError, match="no compiler") as caught:
        compilers.find_compiler()
    assert "install" in caught.value.remedy


def test_the_table_of_registers_and_spills(nvrtc) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "trocar.cuda_kernels.build.build", "--nvrtc"),
            *("--architecture", "sm_90", "--file", "entropy.cu"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| entropy.cu | float | entropy_backward | sm_90 |" in done.stdout
