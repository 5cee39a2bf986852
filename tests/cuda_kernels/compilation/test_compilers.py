"""Compilation for real architectures, which needs no GPU."""

from __future__ import annotations

import shutil

import pytest

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.build import CONFIGURATIONS
from trocar.cuda_kernels.compilation import compilers
from trocar.cuda_kernels.compilation.cache import target_of
from trocar.cuda_kernels.compilation.compilers import Nvcc, Nvrtc, parse_usages

SOFT = (("SCALAR", "float"), ("CLASSES", "8"), ("FROM_LOGITS", "1"))


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: f"{c[0]} {c[1]}")
def test_every_configuration_compiles_to_ptx(nvrtc: Nvrtc, configuration) -> None:
    file, defines = configuration
    architecture = "compute_80" if "tensor" in file else "compute_75"
    binary = nvrtc.compile(file, defines, architecture).binary
    assert b".target sm_" + architecture[-2:].encode() in binary
    assert b".entry " in binary


def test_a_source_that_needs_tf32_does_not_compile_for_older_gpus(nvrtc: Nvrtc) -> None:
    with pytest.raises(BackendError, match="needs sm_80"):
        nvrtc.compile("soft_forward_tensor.cu", SOFT, "sm_75")


def test_nvcc_compiles_the_same_sources() -> None:
    program = shutil.which("nvcc")
    if program is None:
        pytest.skip("no nvcc on the path")
    for file, defines, kernels in (
        ("hard.cu", (("LABEL", "unsigned char"),), {"hard_counts"}),
        ("soft_forward.cu", SOFT, {"soft_forward", "sum_parts"}),
        ("soft_backward.cu", SOFT, {"soft_backward", "argmax_labels", "straight_backward"}),
    ):
        compiled = Nvcc(program).compile(file, defines, "sm_90")
        assert compiled.binary[:4] == b"\x7fELF"
        usages = parse_usages(compiled.log)
        assert {usage.kernel for usage in usages} == kernels
        assert all(usage.spill_stores == 0 for usage in usages)


def test_a_compile_error_names_compiler_and_cause(nvrtc: Nvrtc) -> None:
    with pytest.raises(BackendError, match=r"(?s)nvrtc 1\d.* hard\.cu for sm_90.*error"):
        nvrtc.compile("hard.cu", (("LABEL", "no_such_type"),), "sm_90")


def test_nvrtc_comes_first_and_nvcc_when_it_is_asked_for(monkeypatch, nvrtc: Nvrtc) -> None:
    monkeypatch.delenv("TROCAR_CUDA_COMPILER", raising=False)
    monkeypatch.setattr(compilers.shutil, "which", lambda name: "/usr/bin/nvcc")
    monkeypatch.setattr(compilers, "Nvcc", lambda program: program)
    assert compilers.find_compiler().name == nvrtc.name
    assert compilers.find_compiler("nvcc") == "/usr/bin/nvcc"
    monkeypatch.setenv("TROCAR_CUDA_COMPILER", "nvcc")
    assert compilers.find_compiler() == "/usr/bin/nvcc"
    monkeypatch.setenv("TROCAR_CUDA_COMPILER", "gcc")
    with pytest.raises(BackendError, match="TROCAR_CUDA_COMPILER is 'gcc'"):
        compilers.find_compiler()


def test_a_gpu_that_the_compiler_does_not_know_gets_ptx(nvrtc: Nvrtc) -> None:
    newest = max(nvrtc.architectures())
    assert target_of("sm_90", compiler=nvrtc) == "sm_90"
    assert target_of(f"sm_{newest + 9}", compiler=nvrtc) == f"compute_{newest}"
    ptx = nvrtc.compile("hard.cu", (("LABEL", "int"),), f"compute_{newest}").binary
    assert b".target sm_" in ptx


def test_no_compiler_at_all_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers, "find_nvrtc", lambda: None)
    with pytest.raises(BackendError, match="no compiler") as caught:
        compilers.find_compiler()
    assert "install" in caught.value.remedy
