"""Location by the kernels, run on the CPU, gives the instruments of the CPU to the last bit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from location_cases import TUNINGS, map_cases, spiral
from shared_files import shared_folder

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.location import LocationOptions
from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location.kernels import LocationKernels
from trocar.runtime.device_memory.located import locate_on_device
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table

TYPES = ClassTable.from_names(["background", "grasper", "scissors", "hook"])
PARTS = ClassTable(
    tuple(
        ClassRow(id=i, name=name, colour=(i, 0, 0), instrument=i > 0, part=name if i else "")
        for i, name in enumerate(("background", "shaft", "wrist", "jaw"))
    )
)
SMALL = LocationOptions(min_area=0.0, min_pixels=1, min_score=0.0, min_relative_area=0.0)
# A case that fails is shown as it is: making it smaller would take minutes.
few = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    folder = shared_folder(tmp_path_factory, "libraries")

    def make(tuning: Tuning, **options) -> LocationKernels:
        return LocationKernels(HostLauncher(folder, tuning, **options))

    return make


def both(device, labels, confidence, table, frame_size, options, view=None):
    arrays = [None if a is None else torch.from_numpy(a) for a in (labels, confidence)]
    found = locate_on_device(device, *arrays, table, frame_size, options, view=view)
    return found, locate(labels, confidence, table, frame_size, options, view=view)


@st.composite
def options(draw) -> LocationOptions:
    return LocationOptions(
        min_area=0.0,
        min_pixels=draw(st.sampled_from([1, 4, 30])),
        min_relative_area=draw(st.sampled_from([0.0, 0.1])),
        min_score=draw(st.sampled_from([0.0, 0.55])),
        max_regions=draw(st.sampled_from([0, 3, 256])),
        max_instruments=draw(st.sampled_from([0, 2])),
        border=draw(st.sampled_from([1, 2, 5])),
        max_gap=draw(st.sampled_from([0.0, 1.5, 40.0])),
        strip_depth=draw(st.sampled_from([0.0, 0.06, 0.3])),
        mask_outside_view=draw(st.booleans()),
    )


@few
@given(map_cases(), options(), st.booleans(), st.booleans())
def test_random_maps(kernels, case, chosen, with_parts: bool, round_view: bool) -> None:
    height, width = case.frame_size
    view = None
    if round_view:
        view = FieldOfView(x=0.47 * width, y=0.6 * height, radius=0.45 * max(height, width))
    found, wanted = both(
        kernels(case.tuning, backwards=case.backwards),
        case.labels,
        case.confidence,
        PARTS if with_parts else TYPES,
        case.frame_size,
        chosen,
        view,
    )
    assert found == wanted


def strokes(seed: int) -> np.ndarray:
    """Instruments drawn as thick lines with jaws, as parts; some touch, some are cut in two."""
    random = np.random.default_rng(seed)
    labels = np.zeros((96, 120), np.uint8)
    for _ in range(random.integers(1, 5)):
        side = random.integers(4)
        begin = [
            (random.integers(120), 0),
            (random.integers(120), 95),
            (0, random.integers(96)),
            (119, random.integers(96)),
        ][side]
        if random.random() < 0.2:
            begin = (int(random.integers(30, 90)), int(random.integers(20, 76)))
        middle = np.array([random.integers(25, 95), random.integers(20, 76)])
        thick = int(random.integers(4, 12))
        cv2.line(labels, [int(v) for v in begin], middle.tolist(), 1, thick)
        cv2.circle(labels, middle.tolist(), thick // 2 + 1, 2, -1)
        for turn in random.uniform(-1.2, 1.2, random.integers(1, 3)):
            along = np.arctan2(middle[1] - begin[1], middle[0] - begin[0]) + turn
            end = middle + 18 * np.array([np.cos(along), np.sin(along)])
            cv2.line(labels, middle.tolist(), end.astype(int).tolist(), 3, max(2, thick // 3))
    if random.random() < 0.3:
        labels[:, 40:44] = 0
    return labels


@pytest.mark.parametrize("seed", range(0, 48, 8))
def test_drawn_instruments_that_touch_and_open_their_jaws(kernels, seed: int) -> None:
    open_jaws = 0
    for number in range(seed, seed + 8):
        labels = strokes(number)
        confidence = np.random.default_rng(number).random(labels.shape).astype(np.float16)
        for table, least in ((PARTS, 0.2), (TYPES, 0.0)):
            device = kernels(TUNINGS[number % 4], backwards=number % 3 == 0)
            chosen = replace(SMALL, min_score=least)
            found, wanted = both(device, labels, confidence, table, (540, 720), chosen)
            assert found == wanted
            open_jaws += sum(len(one.tips) == 2 for one in wanted)
    assert open_jaws


def test_some_drawn_maps_are_split() -> None:
    """Else the cases above would not reach the kernel that splits."""
    split = 0
    for seed in range(48):
        labels = strokes(seed)
        regions = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)[0] - 1
        split += len(locate(labels, None, PARTS, (540, 720), SMALL)) > regions
    assert split >= 5


@pytest.mark.parametrize("tuning", TUNINGS, ids=[f"{t.threads}x{t.blocks}" for t in TUNINGS])
def test_a_winding_region(kernels, tuning: Tuning) -> None:
    labels = spiral(41)
    found, wanted = both(kernels(tuning), labels, None, TYPES, (410, 410), SMALL)
    assert found == wanted
    assert wanted


def test_phantom_frames(kernels) -> None:
    """A few scenes; ``benchmarks/device_location.py`` compares a thousand."""
    config = PhantomConfig(frames=6, seed=3, clip_length=2)
    located = 0
    for number, frame in enumerate(phantom_frames(config)):
        labels = np.ascontiguousarray(frame.types[::4, ::4])
        device = kernels(TUNINGS[number % 4])
        found, wanted = both(device, labels, None, phantom_table(), (1080, 1920), LocationOptions())
        assert found == wanted
        located += len(wanted)
    assert located
