"""From a network's output to a smoothed label map, on a GPU or emulated.

labels = LabelMapKernels(launcher).labels(scores)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.backends.kernels import Launch, Launcher, Source
from trocar.cuda_kernels.backends.launch_plan import LaunchShape, Tuning

CONFIDENCES = {
    torch.uint8: "unsigned char",
    torch.float16: "portable::Half",
    torch.float32: "float",
}
"""Types of a confidence map, and their names in C++."""

_SCORES = {
    torch.float32: "float",
    torch.float16: "portable::Half",
    torch.bfloat16: "portable::Bfloat16",
}


class LabelMapKernels:
    """The kernels that make a label map, and smooth it over time, on one device.

    Args:
        launcher: What runs them, see `trocar.cuda_kernels.location.kernels.LocationKernels`.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def labels(self, scores: Tensor) -> Tensor:
        """The class with the largest score, the first of equal ones.

        Args:
            scores: ``[classes, h, w]`` float32, float16 or bfloat16, up to 256 classes, no NaN.

        Returns:
            ``[h, w]`` uint8.

        Raises:
            ArgumentError: They are of another type or shape.
        """
        if scores.ndim != 3 or scores.dtype not in _SCORES or not 1 <= len(scores) <= 256:
            raise ArgumentError(
                f"scores are {scores.dtype} {list(scores.shape)}, expected float32, float16 or "
                "bfloat16 [classes, h, w] with 1 to 256 classes",
                remedy="pass the logits of one frame",
            )
        classes, h, w = scores.shape
        labels = torch.empty((h, w), dtype=torch.uint8, device=scores.device)
        arguments = scores.contiguous(), labels, classes, h * w
        source = _maps_source(_SCORES[scores.dtype], "float")
        self._run("location_labels", source, arguments, labels)
        return labels

    def smooth(
        self,
        labels: Tensor,
        confidence: Tensor,
        before: Tensor,
        delayed: Tensor,
        *,
        min_confidence: float,
        max_delay_frames: int,
    ) -> None:
        """Removes flicker, as `trocar.runtime.temporal.mask_smoothing.MaskSmoother` does.

        Args:
            labels: ``[h, w]`` uint8 of this frame; smoothed in place.
            confidence: ``[h, w]`` uint8 0..255, float16 or float32 0..1.
            before: ``[h, w]`` uint8 smoothed labels of the frame before; replaced in place.
            delayed: ``[h, w]`` uint8 frames for which a pixel was kept; updated in place.
            min_confidence: Confidence, 0..1, from which on a change is accepted at once.
            max_delay_frames: Frames after which a change of low confidence is accepted, up to 255.

        Raises:
            ArgumentError: The maps differ in size, or are of another type.
        """
        for name, each in (("labels", labels), ("before", before), ("delayed", delayed)):
            check_map(name, each, labels.shape, (torch.uint8,))
        check_map("confidence", confidence, labels.shape, tuple(CONFIDENCES))
        if confidence.dtype == torch.uint8:
            # Whole numbers are below a limit if they are below the next whole number.
            least = float(np.ceil(min_confidence * 255))
        else:
            kind = np.float16 if confidence.dtype == torch.float16 else np.float32
            least = float(kind(min_confidence))
        limit = torch.tensor([least], dtype=torch.float32, device=labels.device)
        pixels = labels.numel()
        arguments = labels, confidence, before, delayed, limit, max_delay_frames, pixels
        source = _maps_source("float", CONFIDENCES[confidence.dtype])
        self._run("location_smooth", source, arguments, labels)

    def _run(
        self,
        kernel: str,
        source: Source,
        arguments: tuple[Tensor | int | None, ...],
        labels: Tensor,
    ) -> None:
        shape = pixel_launch(self._launcher.tuning, labels.numel())
        self._launcher.run(labels.device, [Launch(source, kernel, shape, arguments)])


def pixel_launch(tuning: Tuning, count: int, planes: int = 1) -> LaunchShape:
    """One thread for each of ``count`` in every plane; a thread goes on if there are fewer."""
    blocks = max(1, min(-(-count // tuning.threads), -(-tuning.blocks // planes)))
    return LaunchShape((blocks, planes, 1), tuning.threads, 0)


def check_map(name: str, given: Tensor, size: torch.Size, dtypes: tuple[torch.dtype, ...]) -> None:
    """Refuses a map of another size or type.

    Raises:
        ArgumentError: It is one.
    """
    if given.shape != size or given.ndim != 2 or given.dtype not in dtypes:
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ArgumentError(
            f"{name} is {str(given.dtype).removeprefix('torch.')} {list(given.shape)}, "
            f"expected {kinds} {list(size)}",
            remedy="pass the maps of one frame, as the model gives them",
        )


def _maps_source(score: str, confidence: str) -> Source:
    return Source("location_maps.cu", (("SCORE", score), ("CONFIDENCE", confidence)))
