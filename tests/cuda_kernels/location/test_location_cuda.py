"""The kernels of location and of NV12 on a GPU: the instruments and images of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trocar.contract.location import LocationOptions
from trocar.contract.media.nv12 import colour_matrix
from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location.kernels import LocationKernels
from trocar.cuda_kernels.nv12 import Nv12Kernel
from trocar.runtime.device_memory.located import locate_on_device
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def launcher():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    from trocar.cuda_kernels.backends.cuda import CudaLauncher

    return CudaLauncher(0)


@pytest.mark.parametrize("kind", [None, np.uint8, np.float16, np.float32])
def test_the_instruments_are_those_of_the_cpu(launcher, kind) -> None:
    kernels, random = LocationKernels(launcher), np.random.default_rng(0)
    located = 0
    for frame in phantom_frames(PhantomConfig(frames=8, seed=5, clip_length=2)):
        labels = np.ascontiguousarray(frame.types)
        values = random.random(labels.shape)
        confidence = None if kind is None else (values * (255 if kind is np.uint8 else 1))
        confidence = None if confidence is None else confidence.astype(kind)
        view = FieldOfView(x=960.0, y=540.0, radius=700.0) if located % 2 else None
        given = [None if a is None else torch.from_numpy(a).cuda() for a in (labels, confidence)]
        table, options = phantom_table(), LocationOptions(min_score=0.0)
        size = (1080, 1920)
        found = locate_on_device(kernels, *given, table, size, options, view=view)
        wanted = locate(labels, confidence, table, size, options, view=view)
        assert found == wanted
        located += len(wanted)
    assert located


def test_the_image_of_nv12_is_that_of_the_emulation(launcher, libraries) -> None:
    random = np.random.default_rng(1)
    planes = [
        torch.from_numpy(random.integers(0, 256, shape, np.uint8))
        for shape in ((1080, 1920), (540, 960, 2))
    ]
    matrix = colour_matrix("bt709-limited")
    emulated = Nv12Kernel(HostLauncher(libraries, Tuning())).image(*planes, matrix, (512, 640))
    image = Nv12Kernel(launcher).image(*(p.cuda() for p in planes), matrix, (512, 640))
    torch.testing.assert_close(image.cpu(), emulated, rtol=0, atol=0.01)
