"""The cache of compiled kernels, and the files that a binary depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.compilation import cache
from trocar.cuda_kernels.compilation.cache import binary_key, cached_binary
from trocar.cuda_kernels.compilation.compilers import Compiled
from trocar.cuda_kernels.compilation.sources import (
    KERNELS,
    check_architecture,
    included_files,
)


class Counting:
    """A compiler that only counts its calls."""

    name = "counting 1.0"

    def __init__(self) -> None:
        self.calls = 0

    def compile(self, file, defines, architecture) -> Compiled:
        self.calls += 1
        return Compiled(f"{file} {defines} {architecture}".encode(), "")


def test_a_binary_is_compiled_once(tmp_path: Path) -> None:
    compiler = Counting()

    def get(*arguments: object) -> bytes:
        return cached_binary(*arguments, compiler=compiler, folder=tmp_path)

    first = get("hard.cu", (), "sm_90")
    assert get("hard.cu", (), "sm_90") == first
    assert compiler.calls == 1
    get("hard.cu", (), "sm_80")
    get("hard.cu", (("LABEL", "int"),), "sm_90")
    get("entropy.cu", (), "sm_90")
    assert compiler.calls == 4
    assert len(list(tmp_path.iterdir())) == 4
    assert not list(tmp_path.glob("*.part"))


def test_the_key_follows_the_sources_of_the_device_only(tmp_path: Path, monkeypatch) -> None:
    kernels = tmp_path / "kernels"
    shutil.copytree(KERNELS, kernels)
    before = binary_key("soft_forward.cu", (), "sm_90", "x")
    monkeypatch.setattr(cache, "KERNELS", kernels)

    def edit(name: str) -> str:
        (kernels / name).write_text((kernels / name).read_text() + "\n// another line\n")
        return binary_key("soft_forward.cu", (), "sm_90", "x")

    assert binary_key("soft_forward.cu", (), "sm_90", "x") == before
    assert binary_key("soft_forward.cu", (), "sm_90", "y") != before
    assert edit("host/shim.h") == before
    assert edit("host/run.h") == before
    assert edit("hard.cu") == before
    included = edit("tile.cuh")
    assert included != before
    assert edit("portable.cuh") not in (before, included)


def test_files_of_the_host_are_found_for_the_host_only() -> None:
    device = {"soft_forward_tensor.cu", "tensor.cuh", "tile.cuh", "portable.cuh"}
    source = KERNELS / "soft_forward_tensor.cu"
    assert {path.name for path in included_files(source)} == device
    host = {path.relative_to(KERNELS).as_posix() for path in included_files(source, host=True)}
    assert host == device | {"host/shim.h", "host/run.h", "host/block.h", "host/tensor.h"}


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    compiler = Counting()
    for _ in range(2):
        cached_binary("hard.cu", (), "sm_90", compiler=compiler, folder=blocked)
    assert compiler.calls == 2


@pytest.mark.parametrize("architecture", ["sm_75", "compute_75"])
def test_a_gpu_without_tf32_is_refused(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=rf"sm_80 and later.*{architecture}") as caught:
        cached_binary("soft_forward_tensor.cu", (), architecture, folder=tmp_path)
    assert "backend='cuda'" in caught.value.remedy
    check_architecture("soft_forward_tensor.cu", "sm_80")
    check_architecture("soft_forward.cu", architecture)
