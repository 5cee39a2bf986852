"""Runs a session on one frame that is in the memory of its device; `Session.run_device`.

result = run_device(session, tensor)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.location import LocationOptions
from trocar.contract.manifest import Manifest
from trocar.contract.media.clock import now_ns
from trocar.contract.media.nv12 import Nv12Picture, Picture
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.device_memory.frames import DeviceFrame, device_frame
from trocar.runtime.device_memory.located import LocationDevice
from trocar.runtime.device_memory.outputs import located_outputs, outputs_of
from trocar.runtime.locate.field_of_view import FieldOfView


class DeviceSession(Protocol):
    """What of a session is needed."""

    manifest: Manifest
    options: LocationOptions

    def infer(self, frames: NDArray[np.uint8] | Sequence[Nv12Picture]) -> dict[str, NDArray[Any]]:
        """The outputs of frames on the host."""
        ...

    def infer_device(self, frame: DeviceFrame) -> dict[str, Any]:
        """The outputs of a frame on the session's GPU, which stay there."""
        ...

    def prepare(self, frame: Picture) -> Picture:
        """The input of the graph for a frame on the host."""
        ...

    def result(
        self,
        outputs: Mapping[str, NDArray[Any]],
        frame_size: tuple[int, int],
        *,
        frame_id: int,
        time: float,
        captured_ns: int,
        view: FieldOfView | None = None,
        stages_ms: Mapping[str, float] | None = None,
        instruments: tuple[Instrument, ...] | None = None,
    ) -> FrameResult:
        """The result of one frame's outputs."""
        ...


def run_device(
    session: DeviceSession,
    frame: Any,
    *,
    colour: str | None = None,
    kernels: LocationDevice | None = None,
    frame_id: int = 0,
    time: float = 0.0,
    captured_ns: int | None = None,
    view: FieldOfView | None = None,
) -> FrameResult:
    """Finds the instruments of one frame that is in the memory of the session's device.

    Args:
        session: The session.
        frame: RGB ``[H, W, 3]`` uint8, or NV12 as a pair of luma and chroma: objects with
            ``__dlpack__`` or ``__cuda_array_interface__``, NumPy arrays, or
            `trocar.runtime.device_memory.planes.Plane` with pointer, pitch and stream. A frame on a
            GPU is not copied to the host. A frame on the CPU is run as by `Session.run`.
        colour: Matrix and range of NV12, one of `trocar.contract.media.nv12.COLOURS`.
        kernels: Kernels of location: only tables come back from the device. The result has neither
            label map nor masks. ``None`` copies the label map and locates on the CPU.
        frame_id: Number of the frame in its stream, from 0.
        time: Presentation time in seconds.
        captured_ns: `trocar.contract.media.clock.now_ns` at its capture; default: now.
        view: The endoscope's field of view; default: the full frame.

    Raises:
        ArgumentError: The frame is of another type or shape.
        BackendError: It is on another device, or the backend failed.
    """
    given = device_frame(frame, colour=colour)
    started = now_ns()
    if given.device == "cpu":
        prepared = session.prepare(given.picture)
        outputs = session.infer([prepared] if isinstance(prepared, Nv12Picture) else prepared[None])
        values: dict[str, Any] = {name: value[0] for name, value in outputs.items()}
    else:
        values = outputs_of(session.infer_device(given), stay=kernels is not None)
    inferred = now_ns()
    instruments = None
    if kernels is not None:
        instruments = located_outputs(
            kernels, values, session.manifest, given.shape, session.options, view=view
        )
        values = {}
    return session.result(
        values,
        given.shape,
        frame_id=frame_id,
        time=time,
        captured_ns=started if captured_ns is None else captured_ns,
        view=view,
        stages_ms={"infer": (inferred - started) / 1e6},
        instruments=instruments,
    )
