"""The kernels repeated under the sanitizers, and broken on purpose to see them speak up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.location import LocationOptions
from trocar.cuda_kernels import DEFAULT_OFFSETS
from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan
from trocar.cuda_kernels.backends.emulation import KERNELS, HostLauncher, compile_on_host
from trocar.cuda_kernels.backends.kernels import KernelBackend, Source
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location.kernels import LocationKernels
from trocar.cuda_kernels.location.label_maps import LabelMapKernels
from trocar.cuda_kernels.nv12 import Nv12Kernel
from trocar.runtime.device_memory.located import locate_on_device
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.groups import Group

ADDRESS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
THREAD = ["-O1", "-g", "-fsanitize=thread", "-DHOST_THREADS", "-pthread"]


@pytest.fixture(scope="module")
def recorded(libraries, tmp_path_factory) -> dict[Source, Path]:
    """One file of launches for each source, made by the unsanitised kernels."""
    folder = tmp_path_factory.mktemp("launches")
    records: list[tuple[Source, bytes]] = []
    torch.manual_seed(0)
    for tuning in (Tuning(threads=64, shared=3 * 1024, blocks=2), Tuning(threads=32, blocks=1)):
        backend = KernelBackend("recorded", HostLauncher(libraries, tuning, record=records))
        offsets = (*DEFAULT_OFFSETS, (0, -40), (7, 2))
        x, valid = torch.randn(1, 3, 13, 37, dtype=torch.float64), torch.rand(1, 13, 37) < 0.8
        for one_hot in (False, True):
            plan = SoftPlan(offsets, from_logits=True, one_hot=one_hot)
            counts, saved = backend.soft_counts(x, valid, plan)
            backend.soft_gradient(x, valid, plan, counts, saved)
        backend.entropy_gradient(counts, backend.entropy(counts, symmetric=True), symmetric=True)
        labels = torch.randint(0, 40, (2, 13, 37), dtype=torch.uint8)
        backend.hard_counts(labels, HardPlan(offsets, 39, 3))
    summed: list[tuple[Source, bytes]] = []
    launcher = HostLauncher(libraries, Tuning(threads=64, blocks=1, tile=(8, 5)), record=summed)
    backend = KernelBackend("recorded", launcher, tensor_cores=True)
    offsets = ((0, 1), (1, -1), (0, -40), (2**31 - 1, 0))
    plan = SoftPlan(offsets, from_logits=True, one_hot=False)
    backend.soft_counts(torch.randn(1, 17, 6, 7), torch.rand(1, 6, 7) < 0.8, plan)
    records.append(summed[0])  # what adds the parts is among the others already
    for tuning in (Tuning(threads=64, blocks=2), Tuning(threads=32, blocks=1)):
        locate(HostLauncher(libraries, tuning, record=records))
        planes = torch.zeros(9, 20, dtype=torch.uint8), torch.zeros(5, 7, 2, dtype=torch.uint8)
        kernel = Nv12Kernel(HostLauncher(libraries, tuning, record=records))
        kernel.image(planes[0][:, :13], planes[1], np.ones((3, 4), np.float32), (6, 31))
    parts: dict[Source, list[bytes]] = defaultdict(list)
    for source, launch in records:
        parts[source].append(launch)
    files = {}
    for number, (source, launches) in enumerate(parts.items()):
        files[source] = folder / f"{number}.launches"
        files[source].write_bytes(b"".join(launches))
    return files


def locate(launcher: HostLauncher) -> None:
    """One frame through the kernels of location."""
    maps, kernels = LabelMapKernels(launcher), LocationKernels(launcher)
    labels = maps.labels(torch.randn(3, 13, 37))
    labels[2:9, :20] = 1
    confidence = torch.rand(13, 37).to(torch.float16)
    before, delayed = torch.zeros_like(labels), torch.zeros_like(labels)
    maps.smooth(labels, confidence, before, delayed, min_confidence=0.5, max_delay_frames=2)
    groups = [Group(1, "tool", (1, 2), (1,), (), ())]
    view = FieldOfView(x=18.0, y=6.0, radius=17.0)
    kernels.components(
        labels,
        confidence,
        groups=groups,
        frame_size=(13, 37),
        border=1,
        min_pixels=1,
        view=view,
        view_border=1.0,
        mask_outside=True,
    )
    shafts = torch.zeros(13, 37, dtype=torch.uint8)
    shafts[:, 3:6] = shafts[:, 20:23] = 1  # two shafts, joined by what is none
    shafts[5:8, 6:20] = shafts[3, 23:30] = shafts[9, 23:30] = 2
    table = ClassTable(
        (
            ClassRow(id=0, name="background", colour=(0, 0, 0)),
            ClassRow(id=1, name="shaft", colour=(1, 0, 0), instrument=True, part="shaft"),
            ClassRow(id=2, name="jaw", colour=(2, 0, 0), instrument=True, part="jaw"),
        )
    )
    options = LocationOptions(min_area=0.0, min_pixels=3)
    found = locate_on_device(kernels, shafts, None, table, (13, 37), options)
    assert [len(one.tips) for one in found] == [2, 1]  # open jaws, and a geodesic end


def replay(source: Source, launches: Path, folder: Path, flags: list[str], kernels=KERNELS):
    program = folder / f"replay-{source.file}"
    compile_on_host(source, program, flags, kernels=kernels)
    options = {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=1"}
    command = [str(program), str(launches)]
    if "-fsanitize=thread" in flags and shutil.which("setarch"):
        command = ["setarch", "-R", *command]  # it wants addresses that are not randomised
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **options}
    )


def supported(flags: list[str], folder: Path) -> bool:
    probe = folder / "probe.cpp"
    probe.write_text("int main() { return 0; }")
    program = folder / "probe"
    done = subprocess.run(
        ["g++", "-std=c++20", *flags, str(probe), "-o", str(program)],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.mark.parametrize("flags", [ADDRESS, THREAD], ids=["address+undefined", "thread"])
def test_no_sanitizer_complains(recorded, tmp_path, flags: list[str]) -> None:
    if not supported(flags, tmp_path):
        pytest.skip(f"g++ has no library for {flags[2]}")
    assert {source.file for source in recorded} == {
        "hard.cu",
        "entropy.cu",
        "soft_forward.cu",
        "soft_forward_tensor.cu",
        "soft_backward.cu",
        "location_maps.cu",
        "location_components.cu",
        "location_split.cu",
        "location_tips.cu",
        "nv12.cu",
    }
    for source, launches in recorded.items():
        done = replay(source, launches, tmp_path, flags)
        assert done.returncode == 0, f"{source}: {done.stdout}{done.stderr}"
        assert "launches repeated" in done.stdout


def broken(folder: Path, old: str, new: str) -> Path:
    """The kernels with one place of hard.cu changed."""
    kernels = folder / "kernels"
    shutil.copytree(KERNELS, kernels)
    text = (kernels / "hard.cu").read_text()
    assert text.count(old) >= 1
    (kernels / "hard.cu").write_text(text.replace(old, new, 1))
    return kernels


@pytest.mark.parametrize(
    ("flags", "old", "new", "words"),
    [
        (THREAD, "__syncthreads();", "", "data race"),
        (ADDRESS, "bin < bins * copies", "bin <= bins * copies", "heap-buffer-overflow"),
    ],
    ids=["barrier", "overflow"],
)
def test_a_fault_is_reported(recorded, tmp_path, flags, old, new, words) -> None:
    if not supported(flags, tmp_path):
        pytest.skip(f"g++ has no library for {flags[2]}")
    ((source, launches),) = [
        pair for pair in recorded.items() if pair[0].file == "hard.cu" and "char" in str(pair[0])
    ]
    done = replay(source, launches, tmp_path, flags, broken(tmp_path, old, new))
    assert done.returncode != 0
    assert words in done.stderr
