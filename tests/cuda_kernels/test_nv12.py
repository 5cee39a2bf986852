"""The kernel for NV12, run on the CPU, against the exported graph's own image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from location_cases import TUNINGS
from onnx import helper
from tiny_bundle import make_tiny_bundle

from trocar.contract.bundle import MODEL, open_bundle
from trocar.contract.errors import ArgumentError
from trocar.contract.media.nv12 import COLOURS, Nv12Picture, colour_matrix, nv12_inputs
from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.nv12 import Nv12Kernel
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.nv12 import with_nv12_input

BOUND = 0.01
"""Levels of 255; the docstring of `Nv12Kernel.image` states it."""
SIZE = (64, 80)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory):
    """The graph for NV12 with the network's image as an output."""
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("plain") / "tiny.trocar")
    model = onnx.load_model_from_string(open_bundle(bundle).read(MODEL))
    model.graph.output.append(
        helper.make_tensor_value_info("small", onnx.TensorProto.FLOAT, ["batch", 3, *SIZE])
    )
    return open_cpu_session(with_nv12_input(model.SerializeToString()))


def planes(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    luma = random.integers(0, 256, (height, width), np.uint8)
    return luma, random.integers(0, 256, (-(-height // 2), -(-width // 2), 2), np.uint8)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("size", "tuning"),
    [((151, 203), TUNINGS[0]), ((1080, 1920), TUNINGS[3]), ((64, 80), TUNINGS[1]),
     ((1, 1), TUNINGS[2]), ((33, 7), TUNINGS[1])],
)  # fmt: skip
def test_the_image_is_that_of_the_graph(libraries: Path, graph, colour, size, tuning) -> None:
    luma, chroma = planes(size[0], *size)
    picture = Nv12Picture(luma=luma, chroma=chroma, colour=colour)
    (expected,) = graph.run(["small"], nv12_inputs([picture]))
    kernel = Nv12Kernel(HostLauncher(libraries, tuning, backwards=size[0] % 2 == 0))
    image = kernel.image(*map(torch.from_numpy, (luma, chroma)), colour_matrix(colour), SIZE)
    assert np.abs(image.numpy() - expected[0]).max() <= BOUND


def test_rows_that_lie_apart_and_other_types(libraries: Path) -> None:
    luma, chroma = planes(5, 31, 44)
    kernel = Nv12Kernel(HostLauncher(libraries, TUNINGS[1]))
    matrix = colour_matrix(COLOURS[0])
    expected = kernel.image(*map(torch.from_numpy, (luma, chroma)), matrix, SIZE)
    wide_luma = torch.full((31, 64), 255, dtype=torch.uint8)
    wide_chroma = torch.full((16, 40, 2), 255, dtype=torch.uint8)
    wide_luma[:, :44], wide_chroma[:, :22] = torch.from_numpy(luma), torch.from_numpy(chroma)
    apart = wide_luma[:, :44], wide_chroma[:, :22]
    assert torch.equal(kernel.image(*apart, matrix, SIZE), expected)
    half = kernel.image(*apart, matrix, SIZE, dtype=torch.float16)
    assert torch.equal(half, expected.half())
    scaled = kernel.image(*apart, matrix, SIZE, scale=(0.5, 1.0, 2.0), shift=(1.0, -1.0, 0.0))
    assert torch.equal(scaled[0], expected[0] * 0.5 + 1)
    assert torch.equal(scaled[2], expected[2] * 2)


def test_what_is_no_nv12_is_refused(libraries: Path) -> None:
    kernel = Nv12Kernel(HostLauncher(libraries))
    luma, chroma = map(torch.from_numpy, planes(1, 8, 8))
    matrix = colour_matrix(COLOURS[0])
    with pytest.raises(ArgumentError, match=r"chroma torch.uint8 \[3, 4, 2\], expected"):
        kernel.image(luma, chroma[:3], matrix, SIZE)
    with pytest.raises(ArgumentError, match=r"luma is torch\.float32"):
        kernel.image(luma.float(), chroma, matrix, SIZE)
    with pytest.raises(ArgumentError, match="strides are"):
        kernel.image(luma.T, chroma, matrix, SIZE)
    with pytest.raises(ArgumentError, match=r"float64 \[64, 80\] was asked for"):
        kernel.image(luma, chroma, matrix, SIZE, dtype=torch.float64)
    with pytest.raises(ArgumentError, match=r"\[0, 80\] was asked for"):
        kernel.image(luma, chroma, matrix, (0, 80))
