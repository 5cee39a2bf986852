"""The graphs of one model: that for RGB frames and, where the bundle has it, that for NV12.

    graphs = Graphs(backend, nv12=None)
    graphs.infer(frames)["labels"]

Frames of NV12 are converted to RGB where there is no graph for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError, BackendError
from trocar.contract.manifest import Manifest
from trocar.contract.media.nv12 import Nv12Picture, Picture, nv12_inputs
from trocar.contract.tensorrt.engines import Profile
from trocar.runtime.backends import Backend, HasProfile, TakesDeviceInputs, TakesNamedInputs
from trocar.runtime.device_memory.frames import DeviceFrame
from trocar.runtime.frames import check_batch, check_finite, infer_within
from trocar.runtime.in_use import InUse

Frames: TypeAlias = NDArray[np.uint8] | Sequence[Nv12Picture]
"""A batch of frames of one size: ``[N, H, W, 3]`` uint8 RGB, or pictures of NV12."""


class Graphs:
    """The graphs of one model. Several threads may call `infer`.

    Args:
        rgb: The backend that runs RGB frames.
        nv12: The one that runs NV12; ``None`` converts it to RGB.
    """

    def __init__(self, rgb: Backend, nv12: Backend | None = None) -> None:
        self.rgb = rgb
        self.nv12 = nv12
        self._in_use = InUse(self._free)

    @property
    def profile(self) -> Profile | None:
        """Batches and frame sizes that the model takes; ``None`` where it takes all."""
        return self.rgb.profile if isinstance(self.rgb, HasProfile) else None

    def infer(self, frames: Frames) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name, batch first.

        Raises:
            ArgumentError: The frames are of another type, or of several sizes.
            BackendError: They are closed, or the model gave numbers that are not finite.
        """
        with self._in_use.using() as usable:
            if not usable:
                raise BackendError("the session is closed", remedy="open the bundle again")
            outputs = self._run(frames)
        check_finite(outputs)
        return outputs

    def infer_device(self, frame: DeviceFrame) -> dict[str, Any]:
        """The graph's outputs by name, with a batch of one, in the memory of the frame's GPU.

        Raises:
            BackendError: They are closed, the frame is on another device, or no graph takes it.
        """
        backend = self.rgb if frame.colour is None else self.nv12
        if backend is None:
            raise BackendError(
                "this bundle has no graph for NV12, so NV12 in device memory cannot be run",
                remedy="export it with --nv12, or pass RGB",
            )
        if not isinstance(backend, TakesDeviceInputs) or backend.device != frame.device:
            raise BackendError(
                f"the frame is on {frame.device}, the session runs {backend.name} on "
                f"{backend.device}",
                remedy=f"open the session with backend='onnxruntime' and device='{frame.device}', "
                "or copy the frame to the host",
            )
        with self._in_use.using() as usable:
            if not usable:
                raise BackendError("the session is closed", remedy="open the bundle again")
            return backend.infer_device(frame.inputs(getattr(backend, "frame_input", "frame")))

    def close(self) -> None:
        """Frees the graphs, as soon as no thread is in them."""
        self._in_use.close()

    def each(self, change: Callable[[Backend], object]) -> None:
        """Calls a function with every backend, e.g. to set a classifier's classes."""
        for backend in (self.rgb, self.nv12):
            if backend is not None:
                change(backend)

    def _run(self, frames: Frames) -> dict[str, NDArray[Any]]:
        if not isinstance(frames, np.ndarray):
            pictures = check_pictures(frames)
            if self.nv12 is not None:
                return infer_nv12(self.nv12, nv12_inputs(pictures))
            frames = np.stack([picture.rgb for picture in pictures])
        profile = self.profile
        if profile is None:
            return self.rgb.infer(frames)
        return infer_within(profile, self.rgb.infer, check_batch(frames))

    def _free(self) -> None:
        self.each(lambda backend: backend.close())


def check_labels(outputs: Mapping[str, Any], manifest: Manifest, backend: str) -> None:
    """Refuses outputs without a label map, where the model makes one.

    Raises:
        BackendError: There is none.
    """
    if manifest.makes_labels and outputs.get("labels") is None:
        raise BackendError(
            f"{backend} returned {', '.join(outputs)}, expected labels",
            remedy="export the bundle again",
        )


def infer_nv12(backend: Backend, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Runs a graph for NV12.

    Args:
        backend: A backend that runs one.
        inputs: See `trocar.contract.media.nv12.nv12_inputs`.
    """
    assert isinstance(backend, TakesNamedInputs)
    return backend.infer_inputs(inputs)


def check_pictures(frames: Sequence[Nv12Picture]) -> Sequence[Nv12Picture]:
    """Refuses a batch that is not pictures of NV12 of one size.

    Raises:
        ArgumentError: It is another.
    """
    is_list = isinstance(frames, (list, tuple)) and len(frames) > 0
    if not is_list or not all(isinstance(frame, Nv12Picture) for frame in frames):
        raise ArgumentError(
            f"frames are {type(frames).__name__}, expected a uint8 array [N, H, W, 3] or a list of "
            "Nv12Picture",
            remedy="pass RGB frames as one NumPy array, or NV12 frames as a list of Nv12Picture",
        )
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise ArgumentError(
            f"frames of a batch differ in size: {sorted(sizes)}",
            remedy="run frames of different sizes one by one",
        )
    return frames


def batch_of(pictures: Sequence[Picture]) -> Frames:
    """A batch of frames of one size that are all RGB or all NV12."""
    if isinstance(pictures[0], Nv12Picture):
        return [picture for picture in pictures if isinstance(picture, Nv12Picture)]
    if len(pictures) == 1:
        return pictures[0][None]
    return np.stack([picture for picture in pictures if isinstance(picture, np.ndarray)])
