"""Frames where they are: NumPy, tensors of other libraries, addresses; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from nv12_bundles import make_nv12_bundle
from onnx import TensorProto, helper
from shared_files import shared_folder
from stub_gpu import build_stubs
from tiny_bundle import tiny_frame

from trocar.contract.errors import ArgumentError, BackendError
from trocar.contract.media.nv12 import nv12_from_rgb
from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location.kernels import LocationKernels
from trocar.runtime.device_memory.frames import device_frame
from trocar.runtime.device_memory.planes import Plane, plane_of
from trocar.runtime.session import Session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    path = make_nv12_bundle(tmp_path_factory.mktemp("bundle") / "planes.trocar")
    with Session.open(path) as opened:
        yield opened


FRAME = tiny_frame(120, 161)


def padded(array: np.ndarray, more: int) -> np.ndarray:
    """A view of the same pixels whose rows lie apart."""
    wide = np.full((array.shape[0], array.shape[1] + more, *array.shape[2:]), 77, np.uint8)
    wide[:, : array.shape[1]] = array
    return wide[:, : array.shape[1]]


def address(array: np.ndarray, **changes) -> Plane:
    plane = plane_of(array)
    values = {"pointer": plane.pointer, "shape": plane.shape, "pitch": plane.pitch, "owner": array}
    return Plane(**{**values, "device": "cpu", **changes})


@pytest.mark.parametrize(
    "given",
    [
        FRAME,
        padded(FRAME, 5),
        torch.from_numpy(FRAME),
        torch.from_numpy(padded(FRAME, 3)),
        address(FRAME),
        address(padded(FRAME, 11)),
    ],
    ids=["numpy", "rows apart", "dlpack", "dlpack, rows apart", "address", "address, pitch"],
)
def test_the_result_is_that_of_a_plain_run(session: Session, given) -> None:
    wanted = session.run(FRAME)
    found = session.run_device(given)
    assert wanted.instruments
    assert found.instruments == wanted.instruments
    assert np.array_equal(found.labels, wanted.labels)


@pytest.mark.parametrize("more", [0, 6])
def test_nv12_is_a_pair_with_its_colour(session: Session, more: int) -> None:
    picture = nv12_from_rgb(FRAME, "bt601-limited")
    wanted = session.run(picture)
    luma, chroma = padded(picture.luma, more), padded(picture.chroma, more)
    found = session.run_device((luma, torch.from_numpy(chroma)), colour="bt601-limited")
    assert session.takes_nv12
    assert found.instruments == wanted.instruments
    assert np.array_equal(found.labels, wanted.labels)


def test_kernels_locate_and_no_label_map_comes_back(session: Session, tmp_path_factory) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    folder = shared_folder(tmp_path_factory, "libraries")
    kernels = LocationKernels(HostLauncher(folder, Tuning(threads=64, blocks=3)))
    found = session.run_device(FRAME, kernels=kernels)
    assert found.instruments == session.run(FRAME).instruments
    assert found.labels is None
    assert found.confidence is None
    assert all(one.mask is None for one in found.instruments)


class OnGpu:
    """An object that says its memory is on a GPU, as CuPy's and torch's do."""

    def __init__(self, array: np.ndarray, index: int = 0, **changes) -> None:
        self.array, self.index = array, index
        self.layout = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "stream": 9,
            **changes,
        }

    @property
    def __cuda_array_interface__(self) -> dict:
        return self.layout

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.index


def test_a_tensor_of_a_gpu_states_its_stream_and_pitch() -> None:
    plane = plane_of(OnGpu(padded(FRAME, 4), 3))
    assert (plane.device, plane.stream, plane.pitch) == ("cuda:3", 9, 165 * 3)
    assert not plane.is_dense
    assert plane_of(OnGpu(FRAME)).is_dense


def test_a_frame_on_another_device_is_refused(session: Session) -> None:
    with pytest.raises(BackendError, match=r"frame is on cuda:0, the session runs onnxruntime on "):
        session.run_device(OnGpu(FRAME))
    picture = nv12_from_rgb(FRAME, "bt709-full")
    pair = OnGpu(picture.luma), OnGpu(picture.chroma)
    with pytest.raises(BackendError, match="cuda:0"):
        session.run_device(pair, colour="bt709-full")


@pytest.mark.parametrize(
    ("given", "colour", "words"),
    [
        (FRAME.astype(np.float32), None, r"<f4 \[120, 161, 3\]"),
        (torch.from_numpy(FRAME).int(), None, "type 0 of 32 bits"),
        (FRAME[:, ::2], None, "contiguous rows"),
        (FRAME[..., 0].copy(), None, r"\[120, 161\], expected \[H, W, 3\]"),
        ("a path", None, "a str, which states no memory"),
        (FRAME, "bt709-full", "1 objects has the colour 'bt709-full'"),
        ((FRAME[..., 0].copy(), FRAME[..., :2].copy()), None, "2 objects has the colour None"),
        ((FRAME[..., 0].copy(), FRAME[..., :2].copy()), "bt709-full", "expected .H, W. and .ceil"),
        ((FRAME[..., 0].copy(), FRAME[..., :2].copy()), "bt709", "the colour of NV12 is 'bt709'"),
        (OnGpu(FRAME, typestr="<f4"), None, r"<f4 \[120"),
    ],
)
def test_what_is_no_frame_is_refused(given, colour, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        device_frame(given, colour=colour)


@pytest.mark.parametrize(
    "changes",
    [{"pointer": 0}, {"pitch": 482}, {"shape": (3,)}, {"shape": (0, 5)}, {"device": "gpu"}],
)
def test_an_address_that_makes_no_plane_is_refused(changes) -> None:
    with pytest.raises(ArgumentError, match="a plane "):
        address(FRAME, **changes)


def test_the_memory_stays_while_the_plane_does() -> None:
    plane = plane_of(torch.full((4, 5, 3), 7, dtype=torch.uint8))
    torch.full((4, 5, 3), 9, dtype=torch.uint8)
    assert (plane.array == 7).all()


COPY = """
import ctypes, json, sys
from trocar.runtime.backends.cuda_driver import BindingsDriver
driver = BindingsDriver(0)
wide = (ctypes.c_uint8 * 40)(*range(40))
dense = (ctypes.c_uint8 * 18)()
with driver.current():
    driver.copy_rows(ctypes.addressof(dense), ctypes.addressof(wide), pitch=12, row_bytes=6, rows=3,
                     stream=1)
print(json.dumps(list(dense)))
"""

BOUND = """
import json, pathlib
import numpy as np
from trocar.runtime.backends import open_backend
from trocar.runtime.device_memory.binding import device_array
from trocar.runtime.device_memory.planes import Plane
backend = open_backend("onnxruntime", pathlib.Path({model!r}), device="cuda")
wide = np.zeros((96, 140, 3), np.uint8)
plane = Plane(pointer=wide.ctypes.data, shape=(96, 128, 3), pitch=420, device="cuda:0", stream=1)
values = backend.infer_device({{backend.frame_input: plane}})
arrays = {{name: device_array(value) for name, value in values.items()}}
print(json.dumps({{n: [a.shape, a.dtype.str, a.__cuda_array_interface__["data"][0] != 0]
                  for n, a in arrays.items()}}))
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory):
    return build_stubs(tmp_path_factory.mktemp("stub_gpu"))


def test_rows_are_brought_together_on_the_device(stubs) -> None:
    """The stub's device memory is that of the host, so the copy is a real one."""
    pytest.importorskip("cuda.bindings")
    answer = stubs.run_driver(COPY)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [12 * y + x for y in range(3) for x in range(6)]


def test_the_real_provider_takes_a_frame_in_device_memory(stubs, tmp_path: Path) -> None:
    """It computes nothing on the stub GPU; addresses, shapes and types pass through."""
    pytest.importorskip("cuda.bindings")
    frame = ["batch", "height", "width", 3]
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["frame"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["frame"], ["half"], to=TensorProto.FLOAT16),
        ],
        "frame",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, frame)],
        [
            helper.make_tensor_value_info("planes", TensorProto.UINT8, None),
            helper.make_tensor_value_info("half", TensorProto.FLOAT16, None),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    answer = stubs.run(BOUND.format(model=str(path)))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {
        "planes": [[3, 96, 128], "|u1", True],
        "half": [[96, 128, 3], "<f2", True],
    }
