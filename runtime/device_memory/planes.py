"""Pixels in the memory of the host or of a GPU: where they are, and how far their rows lie apart.

    plane = plane_of(tensor)                     # anything with __dlpack__, no copy
    plane = Plane(pointer=address, shape=(1080, 1920, 3), pitch=5760, device="cuda:0", stream=7)

The objects of PyAV, PyTorch, CuPy, Holoscan, Numba and NumPy say where their memory is through
DLPack or the CUDA Array Interface; nothing of these libraries is imported.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

LEGACY_STREAM = 1
"""CUDA's default stream, as both protocols name it."""

_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13  # DLDeviceType of dlpack.h
_REMEDY = (
    "pass uint8 pixels [H, W, 3] whose rows are contiguous: an object with __dlpack__ or "
    "__cuda_array_interface__, a NumPy array, or a Plane with pointer, shape, pitch and device"
)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """uint8 pixels; whoever holds the plane keeps their memory.

    Attributes:
        pointer: Address of the first pixel.
        shape: ``(height, width)`` or ``(height, width, channels)``.
        pitch: Bytes from one row to the next.
        device: ``cpu`` or ``cuda:N``.
        stream: CUDA stream whose work must be done before the pixels are read; ``None``: they are
            ready.
        owner: What must stay alive as long as the plane.

    Raises:
        ArgumentError: An attribute is out of range.
    """

    pointer: int
    shape: tuple[int, ...]
    pitch: int
    device: str
    stream: int | None = None
    owner: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_size = len(self.shape) in (2, 3) and all(side > 0 for side in self.shape)
        if not self.pointer or not is_size or self.pitch < self.row_bytes:
            raise ArgumentError(
                f"a plane has pointer {self.pointer:#x}, shape {list(self.shape)} and pitch "
                f"{self.pitch}, expected an address, [H, W] or [H, W, C] with sides above 0, and a "
                "pitch of a row's bytes or more",
                remedy=_REMEDY,
            )
        index = self.device.removeprefix("cuda:")
        if self.device != "cpu" and not (self.device.startswith("cuda:") and index.isdecimal()):
            raise ArgumentError(
                f"a plane is on {self.device!r}, expected cpu or cuda:N", remedy=_REMEDY
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, without those between rows."""
        return int(np.prod(self.shape[1:]))

    @property
    def is_dense(self) -> bool:
        """Whether no bytes lie between the rows."""
        return self.pitch == self.row_bytes

    @property
    def array(self) -> NDArray[np.uint8]:
        """The pixels of a plane on the CPU, without a copy."""
        assert self.device == "cpu"
        size = (self.shape[0] - 1) * self.pitch + self.row_bytes
        memory = (ctypes.c_uint8 * size).from_address(self.pointer)
        flat: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
        inner = (self.shape[2], 1) if len(self.shape) == 3 else (1,)
        return np.lib.stride_tricks.as_strided(flat, self.shape, (self.pitch, *inner))


def plane_of(pixels: Any) -> Plane:
    """Where the pixels of an object are; nothing is copied.

    Args:
        pixels: A `Plane`, or an object with ``__cuda_array_interface__`` or ``__dlpack__``: uint8
            ``[H, W]`` or ``[H, W, C]``.

    Raises:
        ArgumentError: It is of another type, layout or device.
    """
    if isinstance(pixels, Plane):
        return pixels
    if isinstance(pixels, np.ndarray):
        return _plane(
            pointer=pixels.ctypes.data,
            shape=pixels.shape,
            strides=pixels.strides,
            kind=pixels.dtype.str,
            device="cpu",
            owner=pixels,
        )
    # Tensors of torch that are on the CPU raise here, so the attribute is asked for with care.
    try:
        layout: Any = getattr(pixels, "__cuda_array_interface__", None)
    except Exception:
        layout = None
    if layout is not None:
        return _from_cuda_interface(pixels, layout)
    if hasattr(pixels, "__dlpack__") and hasattr(pixels, "__dlpack_device__"):
        return _from_dlpack(pixels)
    raise ArgumentError(
        f"a frame is a {type(pixels).__name__}, which states no memory", remedy=_REMEDY
    )


def _from_cuda_interface(pixels: Any, layout: Any) -> Plane:
    # The protocol does not state the device; those of DLPack do.
    index = pixels.__dlpack_device__()[1] if hasattr(pixels, "__dlpack_device__") else 0
    shape = tuple(layout["shape"])
    return _plane(
        pointer=layout["data"][0],
        shape=shape,
        strides=layout.get("strides") or _dense(shape),
        kind=layout["typestr"],
        device=f"cuda:{index}",
        stream=layout.get("stream"),
        owner=pixels,
    )


class _DlTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _from_dlpack(pixels: Any) -> Plane:
    kind, index = (int(number) for number in pixels.__dlpack_device__())
    on_gpu = kind in (_CUDA, _CUDA_MANAGED)
    if not on_gpu and kind not in (_CPU, _CUDA_HOST):
        raise ArgumentError(
            f"a frame is on DLPack device {kind}, expected the CPU (1, 3) or CUDA (2, 13)",
            remedy="copy it to the host or to an NVIDIA GPU",
        )
    # The producer makes the default stream wait for the pixels.
    capsule = pixels.__dlpack__(stream=LEGACY_STREAM) if on_gpu else pixels.__dlpack__()
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _DlTensor.from_address(pointer_of(capsule, b"dltensor"))
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    is_bytes = (tensor.code, tensor.bits, tensor.lanes) == (1, 8, 1)
    return _plane(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        strides=strides or _dense(shape),
        kind="|u1" if is_bytes else f"type {tensor.code} of {tensor.bits} bits",
        device=f"cuda:{index}" if on_gpu else "cpu",
        stream=LEGACY_STREAM if on_gpu else None,
        owner=(capsule, pixels),  # the capsule frees the tensor, as nobody consumed it
    )


def _plane(*, strides: tuple[int, ...], kind: str, shape: tuple[int, ...], **rest: Any) -> Plane:
    inner = _dense(shape)[1:]
    if kind != "|u1" or len(shape) not in (2, 3) or tuple(strides[1:]) != inner:
        raise ArgumentError(
            f"a frame is {kind} {list(shape)} with strides {list(strides)}, expected uint8 (|u1) "
            "[H, W] or [H, W, C] with contiguous rows",
            remedy=_REMEDY,
        )
    # A single row may have any stride.
    pitch = strides[0] if shape[0] > 1 else int(np.prod(shape[1:]))
    return Plane(shape=shape, pitch=pitch, **rest)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
