"""Runs the kernels that locate instruments, on a GPU or emulated.

    maps = LocationKernels(launcher).components(labels, None, lookup, places, min_pixels=160)
    maps.table["pixels"]

The same code drives the GPU and the emulation on the CPU; only the launcher differs. Only tables
leave the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.backends.kernels import Launch, Launcher, Source
from trocar.cuda_kernels.backends.launch_plan import LaunchShape
from trocar.cuda_kernels.location.tables import FIELDS, RECORD, Places

SEGMENT = 32
"""Pixels of a row that one thread goes through; ``kSegment`` of the kernels."""

FIRST_CAPACITY = 512
"""Records of the first table of a map; a map with more gets a larger one."""

_CONFIDENCES = {
    torch.uint8: "unsigned char",
    torch.float16: "portable::Half",
    torch.float32: "float",
}
_SCORES = {
    torch.float32: "float",
    torch.float16: "portable::Half",
    torch.bfloat16: "portable::Bfloat16",
}


@dataclass(frozen=True)
class ComponentMaps:
    """Components of one label map; the maps stay on the device.

    Attributes:
        table: ``[N]`` of `RECORD`, ordered by plane, then first pixel.
        labels: ``[h, w]`` uint8 class ids, 0 outside the field of view.
        keys: ``[3, h, w]`` int32, 0 for pixels without a component.
        parents: ``[3, h, w]`` int32 root of each pixel, -1 for none.
    """

    table: NDArray[Any]
    labels: Tensor
    keys: Tensor
    parents: Tensor
    lookup: Tensor
    places: Places
    numbers: Tensor
    confidence: Tensor | None


class LocationKernels:
    """The kernels of location on one device.

    Args:
        launcher: What runs them: `trocar.cuda_kernels.backends.cuda.CudaLauncher`, or
            `trocar.cuda_kernels.backends.emulation.HostLauncher` on a CPU.
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
        self._run(labels, [Launch(source, "location_labels", self._pixels(h * w), arguments)])
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
            _check_map(name, each, labels.shape, (torch.uint8,))
        _check_map("confidence", confidence, labels.shape, tuple(_CONFIDENCES))
        if confidence.dtype == torch.uint8:
            # Whole numbers are below a limit if they are below the next whole number.
            least = float(np.ceil(min_confidence * 255))
        else:
            kind = np.float16 if confidence.dtype == torch.float16 else np.float32
            least = float(kind(min_confidence))
        limit = torch.tensor([least], dtype=torch.float32, device=labels.device)
        pixels = labels.numel()
        arguments = labels, confidence, before, delayed, limit, max_delay_frames, pixels
        source = _maps_source("float", _CONFIDENCES[confidence.dtype])
        self._run(labels, [Launch(source, "location_smooth", self._pixels(pixels), arguments)])

    def components(
        self,
        labels: Tensor,
        confidence: Tensor | None,
        lookup: NDArray[np.int32],
        places: Places,
        *,
        min_pixels: int,
        mask_outside: bool = False,
    ) -> ComponentMaps:
        """Finds regions, the parts of their borders, and their shafts.

        Args:
            labels: ``[h, w]`` uint8 class ids.
            confidence: ``[h, w]`` uint8 0..255, float16 or float32 0..1, or ``None``.
            lookup: See `trocar.cuda_kernels.location.tables.class_lookup`.
            places: See `trocar.cuda_kernels.location.tables.pixel_places`.
            min_pixels: Pixels of the smallest region and shaft.
            mask_outside: Whether labels outside the field of view are background.

        Raises:
            ArgumentError: A map is of another size or type, or the confidence is not finite.
        """
        _check_map("labels", labels, torch.Size(places.size), (torch.uint8,))
        if confidence is not None:
            _check_map("confidence", confidence, labels.shape, tuple(_CONFIDENCES))
            confidence = confidence.contiguous()
        device, shape = labels.device, (3, *places.size)
        maps = ComponentMaps(
            table=np.zeros(0, RECORD),
            labels=torch.empty_like(labels, memory_format=torch.contiguous_format),
            keys=torch.empty(shape, dtype=torch.int32, device=device),
            parents=torch.empty(shape, dtype=torch.int32, device=device),
            lookup=torch.from_numpy(lookup).to(device),
            places=places,
            numbers=torch.from_numpy(places.numbers).to(device),
            confidence=confidence,
        )
        areas = torch.empty(shape, dtype=torch.int32, device=device)
        h, w = places.size
        arguments = (
            *(labels.contiguous(), maps.lookup, maps.numbers, maps.labels),
            *(maps.keys, maps.parents, areas, h, w, places.border),
            *(int(places.has_view), int(mask_outside)),
        )
        keys = Launch(self._source(maps), "location_keys", self._pixels(h * w, 3), arguments)
        self._run(labels, [keys])
        return self._measured(maps, areas, planes=3, min_pixels=min_pixels)

    def _measured(
        self, maps: ComponentMaps, areas: Tensor, *, planes: int, min_pixels: int
    ) -> ComponentMaps:
        """Links equal keys of some planes to components and measures them."""
        (h, w), source = maps.places.size, self._source(maps)
        pixels, segments = self._pixels(h * w, planes), self._pixels(h * -(-w // SEGMENT), planes)
        slots = torch.empty_like(areas)
        self._run(
            areas,
            [
                Launch(source, "location_link", pixels, (maps.keys, maps.parents, h, w)),
                Launch(source, "location_flatten", segments, (maps.parents, areas, h, w)),
            ],
        )
        capacity = FIRST_CAPACITY
        while True:
            table = torch.zeros((capacity + 1, len(FIELDS)), dtype=torch.int64, device=areas.device)
            numbers = (maps.keys, maps.parents, areas, slots, table, min_pixels, capacity, h * w)
            measures = (
                *(maps.keys, maps.parents, slots, maps.confidence, maps.numbers, table),
                *(h, w, int(maps.places.has_view)),
            )
            self._run(
                areas,
                [
                    Launch(source, "location_number", pixels, numbers),
                    Launch(source, "location_measure", segments, measures),
                ],
            )
            rows = table.cpu().numpy()
            count = int(rows[0, 0])
            if count <= capacity:
                break
            capacity = count
        if rows[0, 1]:
            raise ArgumentError(
                "confidence holds a value that is not finite",
                remedy="pass the confidence of every pixel, 0..1",
            )
        records = np.ascontiguousarray(rows[1 : count + 1]).view(RECORD)[:, 0]
        records = records[np.lexsort((records["root"], records["plane"]))]
        return ComponentMaps(**{**vars(maps), "table": records})

    def _source(self, maps: ComponentMaps) -> Source:
        dtype = torch.uint8 if maps.confidence is None else maps.confidence.dtype
        return components_source(_CONFIDENCES[dtype])

    def _pixels(self, count: int, planes: int = 1) -> LaunchShape:
        """One thread for each of ``count``; a thread goes on if there are fewer."""
        tuning = self._launcher.tuning
        blocks = -(-count // tuning.threads)
        blocks = max(1, min(blocks, -(-tuning.blocks // planes)))
        return LaunchShape((blocks, planes, 1), tuning.threads, 0)

    def _run(self, like: Tensor, launches: list[Launch]) -> None:
        self._launcher.run(like.device, launches)


def components_source(confidence: str) -> Source:
    """The source of components, for confidences of this C++ type."""
    return Source("location_components.cu", (("CONFIDENCE", confidence),))


def _maps_source(score: str, confidence: str) -> Source:
    return Source("location_maps.cu", (("SCORE", score), ("CONFIDENCE", confidence)))


def _check_map(name: str, given: Tensor, size: torch.Size, dtypes: tuple[torch.dtype, ...]) -> None:
    if given.shape != size or given.ndim != 2 or given.dtype not in dtypes:
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ArgumentError(
            f"{name} is {str(given.dtype).removeprefix('torch.')} {list(given.shape)}, "
            f"expected {kinds} {list(size)}",
            remedy="pass the maps of one frame, as the model gives them",
        )
