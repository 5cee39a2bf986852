"""A frame in the memory of the host or of a GPU, as RGB or as the planes of NV12.

frame = device_frame(tensor)                                    # RGB
frame = device_frame((luma, chroma), colour="bt709-limited")    # NV12
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.media.nv12 import Nv12Picture, Picture, colour_matrix
from trocar.runtime.device_memory.planes import Plane, plane_of


@dataclass(frozen=True)
class DeviceFrame:
    """One frame.

    Attributes:
        planes: One of RGB, or luma and chroma.
        colour: Matrix and range of NV12; ``None`` for RGB.
    """

    planes: tuple[Plane, ...]
    colour: str | None

    @property
    def device(self) -> str:
        """Where it is: ``cpu`` or ``cuda:N``."""
        return self.planes[0].device

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self.planes[0].shape[0], self.planes[0].shape[1]

    @property
    def picture(self) -> Picture:
        """The frame for the CPU, without a copy; it must be there."""
        if self.colour is None:
            return self.planes[0].array
        luma, chroma = (plane.array for plane in self.planes)
        return Nv12Picture(luma=luma, chroma=chroma, colour=self.colour)

    def inputs(self, frame_input: str) -> Mapping[str, Plane | NDArray[Any]]:
        """What a graph takes, by name, without the batch.

        Args:
            frame_input: Name of the input for RGB.
        """
        if self.colour is None:
            return {frame_input: self.planes[0]}
        luma, chroma = self.planes
        return {"luma": luma, "chroma": chroma, "colour": colour_matrix(self.colour)}


def device_frame(pixels: Any, *, colour: str | None = None) -> DeviceFrame:
    """The frame that an object, or a pair of luma and chroma, states.

    Args:
        pixels: RGB ``[H, W, 3]``, or a pair of NV12's planes ``[H, W]`` and
            ``[ceil(H/2), ceil(W/2), 2]``; see `trocar.runtime.device_memory.planes.plane_of`.
        colour: One of `trocar.contract.media.nv12.COLOURS`; for NV12.

    Raises:
        ArgumentError: The planes are of another shape or of two devices, or the colour is missing,
            unknown, or stated for RGB.
    """
    is_pair = isinstance(pixels, tuple) and len(pixels) == 2
    if is_pair != (colour is not None):
        raise ArgumentError(
            f"a frame of {2 if is_pair else 1} objects has the colour {colour!r}",
            remedy="pass RGB without a colour, or NV12 as (luma, chroma) with its colour",
        )
    if not is_pair:
        plane = plane_of(pixels)
        if len(plane.shape) != 3 or plane.shape[2] != 3:
            raise ArgumentError(
                f"a frame is {list(plane.shape)}, expected [H, W, 3]",
                remedy="pass RGB, or NV12 as (luma, chroma) with colour=",
            )
        return DeviceFrame((plane,), None)
    luma, chroma = (plane_of(each) for each in pixels)
    colour_matrix(str(colour))  # refuses an unknown one
    wanted = (*(-(-side // 2) for side in luma.shape[:2]), 2)
    if len(luma.shape) != 2 or chroma.shape != wanted or luma.device != chroma.device:
        raise ArgumentError(
            f"luma is {list(luma.shape)} on {luma.device}, chroma {list(chroma.shape)} on "
            f"{chroma.device}, expected [H, W] and [ceil(H/2), ceil(W/2), 2] on one device",
            remedy="pass the planes of NV12 as the decoder gives them",
        )
    return DeviceFrame((luma, chroma), colour)
