"""The network's image of an NV12 picture in one kernel, on a GPU or emulated.

    image = Nv12Kernel(launcher).image(luma, chroma, matrix, (512, 640))

The planes stay where the decoder wrote them; no RGB picture is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.backends.kernels import Launch, Launcher, Source
from trocar.cuda_kernels.backends.launch_plan import LaunchShape

_IMAGES = {
    torch.float32: "float",
    torch.float16: "portable::Half",
    torch.bfloat16: "portable::Bfloat16",
}
_MAX_SIDE = 2**15


class Nv12Kernel:
    """The kernel of one device.

    Args:
        launcher: What runs it: `trocar.cuda_kernels.backends.cuda.CudaLauncher`, or
            `trocar.cuda_kernels.backends.emulation.HostLauncher` on a CPU.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def image(
        self,
        luma: Tensor,
        chroma: Tensor,
        matrix: NDArray[np.float32],
        size: tuple[int, int],
        *,
        dtype: torch.dtype = torch.float32,
        scale: Sequence[float] = (1.0, 1.0, 1.0),
        shift: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> Tensor:
        """Resizes both planes and converts the colours, as the graph for NV12 does.

        Args:
            luma: ``[H, W]`` uint8; rows may lie apart, by a pitch.
            chroma: ``[ceil(H/2), ceil(W/2), 2]`` uint8, U and V; rows may lie apart.
            matrix: ``[3, 4]``, see `trocar.contract.media.nv12.colour_matrix`.
            size: ``(height, width)`` of the image.
            dtype: float32, float16 or bfloat16.
            scale: Factor of each channel, after the clamp to 0..255.
            shift: Added to each channel.

        Returns:
            ``[3, height, width]``. In float32 with ``scale`` 1 and ``shift`` 0 it is at most 0.01
            from the graph's image of 0..255.

        Raises:
            ArgumentError: Planes of another type, shape or layout, or an unknown ``dtype``.
        """
        _check(luma, chroma)
        if dtype not in _IMAGES or not all(0 < side <= _MAX_SIDE for side in size):
            raise ArgumentError(
                f"an image of {dtype} {list(size)} was asked for, expected float32, float16 or "
                f"bfloat16 with sides of 1 to {_MAX_SIDE}",
                remedy="pass the network's input type and size",
            )
        numbers = np.concatenate([np.asarray(matrix).ravel(), scale, shift]).astype(np.float32)
        image = torch.empty((3, *size), dtype=dtype, device=luma.device)
        tuning = self._launcher.tuning
        blocks = max(1, min(-(-size[0] * size[1] // tuning.threads), tuning.blocks))
        arguments = (
            *(luma, chroma, torch.from_numpy(numbers).to(luma.device), image),
            *(luma.stride(0), chroma.stride(0), *luma.shape, *size),
        )
        shape = LaunchShape((blocks, 1, 1), tuning.threads, 0)
        launch = Launch(nv12_source(dtype), "nv12_image", shape, arguments)
        self._launcher.run(luma.device, [launch])
        return image


def nv12_source(dtype: torch.dtype) -> Source:
    """The source for images of this type."""
    return Source("nv12.cu", (("IMAGE", _IMAGES[dtype]),))


def _check(luma: Tensor, chroma: Tensor) -> None:
    wanted = [-(-side // 2) for side in luma.shape] + [2]
    fits = luma.ndim == 2 and list(chroma.shape) == wanted and min(luma.shape) > 0
    is_bytes = luma.dtype == chroma.dtype == torch.uint8
    if not fits or not is_bytes or max(luma.shape) > _MAX_SIDE:
        raise ArgumentError(
            f"luma is {luma.dtype} {list(luma.shape)} and chroma {chroma.dtype} "
            f"{list(chroma.shape)}, expected uint8 [H, W] and [ceil(H/2), ceil(W/2), 2] with sides "
            f"of 1 to {_MAX_SIDE}",
            remedy="pass the planes of NV12 as the decoder gives them",
        )
    rows_apart = luma.stride(0) >= luma.shape[1] and chroma.stride(0) >= 2 * chroma.shape[1]
    if luma.stride(1) != 1 or chroma.stride()[1:] != (2, 1) or not rows_apart:
        raise ArgumentError(
            f"the planes' strides are {luma.stride()} and {chroma.stride()}, expected (pitch, 1) "
            "and (pitch, 2, 1)",
            remedy="pass planes whose rows are contiguous",
        )
    if luma.device != chroma.device:
        raise ArgumentError(
            f"luma is on {luma.device}, chroma on {chroma.device}",
            remedy="pass planes of one device",
        )
