"""Runs the kernels that locate instruments, on a GPU or emulated.

    kernels = LocationKernels(launcher)
    maps = kernels.components(
        labels, None, groups=groups, frame_size=(1080, 1920), border=2, min_pixels=160
    )
    maps.table["pixels"]

The same code drives the GPU and the emulation on the CPU; only the launcher differs. Only tables
leave the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.backends.kernels import Launch, Launcher, Source
from trocar.cuda_kernels.backends.launch_plan import LaunchShape
from trocar.cuda_kernels.location.label_maps import CONFIDENCES, check_map, pixel_launch
from trocar.cuda_kernels.location.requests import SplitRegion, TipRequest, TipSums
from trocar.cuda_kernels.location.tables import (
    ELSE_TIP,
    FIELDS,
    RECORD,
    TIP,
    Circle,
    GroupClasses,
    Places,
    class_lookup,
    pixel_places,
)

SEGMENT = 32
"""Pixels of a row that one thread goes through; ``kSegment`` of the kernels."""

FIRST_CAPACITY = 512
"""Records of the first table of a map; a map with more gets a larger one."""

TIP_COLUMNS = 9
"""Columns of a result of ``location_tips.cu``."""


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

    def components(
        self,
        labels: Any,
        confidence: Any,
        *,
        groups: Sequence[GroupClasses],
        frame_size: tuple[int, int],
        border: int,
        min_pixels: int,
        view: Circle | None = None,
        view_border: float = 0.0,
        mask_outside: bool = False,
    ) -> ComponentMaps:
        """Finds regions, the parts of their borders, and their shafts.

        Args:
            labels: ``[h, w]`` uint8 class ids: a tensor, a NumPy array, or what states the CUDA
                Array Interface.
            confidence: Likewise ``[h, w]`` uint8 0..255, float16 or float32 0..1, or ``None``.
            groups: Kinds of instruments; ``key`` of a record is the number of its kind, from 1.
            frame_size: ``(height, width)`` of the frame.
            border: Width of the frame's border in label pixels.
            min_pixels: Pixels of the smallest region and shaft.
            view: The field of view; ``None`` for the full frame.
            view_border: Width of its border in frame pixels.
            mask_outside: Whether labels outside the field of view are background.

        Raises:
            ArgumentError: A map is of another size or type, or the confidence is not finite.
        """
        labels = torch.as_tensor(labels)
        confidence = None if confidence is None else torch.as_tensor(confidence)
        check_map("labels", labels, labels.shape, (torch.uint8,))
        size = labels.shape[0], labels.shape[1]
        places = pixel_places(size, frame_size, border=border, view=view, view_border=view_border)
        if confidence is not None:
            check_map("confidence", confidence, labels.shape, tuple(CONFIDENCES))
            confidence = confidence.contiguous()
        device, shape = labels.device, (3, *places.size)
        maps = ComponentMaps(
            table=np.zeros(0, RECORD),
            labels=torch.empty_like(labels, memory_format=torch.contiguous_format),
            keys=torch.empty(shape, dtype=torch.int32, device=device),
            parents=torch.empty(shape, dtype=torch.int32, device=device),
            lookup=torch.from_numpy(class_lookup(groups)).to(device),
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
        keys = Launch(
            self._source(maps),
            "location_keys",
            self._pixels(h * w, 3),
            arguments,
        )
        self._run(labels, [keys])
        return self._measured(maps, areas, planes=3, min_pixels=min_pixels)

    def split(
        self, maps: ComponentMaps, regions: Sequence[SplitRegion], *, min_pixels: int
    ) -> ComponentMaps:
        """Splits regions among their shafts; the maps are changed, and so is what they say.

        Args:
            maps: Components of a label map.
            regions: Regions with two shafts or more.
            min_pixels: Pixels of the smallest region.

        Returns:
            Regions, parts and their borders; a part has the key of its shaft, and is no region of
            its group any more. There are no shafts.
        """
        device, (h, w) = maps.labels.device, maps.places.size
        rows: list[list[int]] = []
        seeds: list[list[int]] = []
        queued = 0
        for region in regions:
            rows.append([region.root, *region.box, queued, len(seeds), len(region.shafts)])
            seeds += [list(shaft) for shaft in region.shafts]
            queued += region.pixels
        owners = torch.full((h, w), -1, dtype=torch.int64, device=device)
        queue = torch.empty(max(queued, 1), dtype=torch.int32, device=device)
        areas = torch.empty_like(maps.keys)
        requests = torch.tensor(rows, dtype=torch.int64, device=device)
        shafts = torch.tensor(seeds, dtype=torch.int64, device=device)
        shape = LaunchShape((len(rows), 1, 1), self._launcher.tuning.threads, 16)
        arguments = maps.parents, requests, shafts, owners, queue, h, w
        rekeyed = owners, maps.keys, maps.parents, areas, h * w
        self._run(
            areas,
            [
                Launch(Source("location_split.cu", ()), "location_split", shape, arguments, (4,)),
                Launch(
                    self._source(maps),
                    "location_rekey",
                    self._pixels(h * w),
                    rekeyed,
                ),
            ],
        )
        return self._measured(maps, areas, planes=2, min_pixels=min_pixels)

    def tips(self, maps: ComponentMaps, requests: Sequence[TipRequest]) -> list[TipSums]:
        """Finds the tips of instruments, and the start where it is not known.

        Args:
            maps: Components of a label map.
            requests: Instruments; no two of them have a pixel in common.
        """
        if not requests:
            return []
        device, (h, w) = maps.labels.device, maps.places.size
        rows: list[list[float]] = []
        roots: list[int] = []
        numbers: list[int] = []
        queued = 0
        for number, request in enumerate(requests):
            kinds = (TIP if request.group.tip_ids else 0) | (
                ELSE_TIP if request.group.else_tip_ids else 0
            )
            known = (0, 0.0, 0.0) if request.start is None else (1, *request.start)
            rows.append(
                [
                    *(*request.box, queued, request.entry, kinds, *known, *request.axis),
                    *(*request.centre, request.area, request.unit, len(request.roots) > 1),
                ]
            )
            roots += request.roots
            numbers += [256 * number + fragment for fragment in range(1, len(request.roots) + 1)]
            queued += request.pixels
        owners = torch.full((h * w,), -1, dtype=torch.int32, device=device)
        owners[torch.tensor(roots, device=device)] = torch.tensor(
            numbers, dtype=torch.int32, device=device
        )
        ints = torch.zeros((4, h * w), dtype=torch.int32, device=device)  # tags are 0 at first
        reaches = torch.empty(h * w, dtype=torch.int64, device=device)
        queues = torch.empty((2, queued), dtype=torch.int32, device=device)
        results = torch.zeros((len(rows), TIP_COLUMNS), dtype=torch.int64, device=device)
        arguments = (
            *(maps.labels, maps.lookup, maps.numbers, maps.parents, owners),
            torch.tensor(rows, dtype=torch.float64, device=device),
            *(ints[0], ints[1], ints[2], reaches, ints[3], queues[0], queues[1], results, h, w),
        )
        shape = LaunchShape((len(rows), 1, 1), self._launcher.tuning.threads, 128)
        source = Source("location_tips.cu", ())
        self._run(results, [Launch(source, "location_tips", shape, arguments, (7, 11, 12))])
        return [_tip_sums(row) for row in results.cpu().numpy()]

    def _measured(
        self, maps: ComponentMaps, areas: Tensor, *, planes: int, min_pixels: int
    ) -> ComponentMaps:
        """Links equal keys of some planes to components and measures them."""
        (h, w), source = maps.places.size, self._source(maps)
        pixels, segments = (
            pixel_launch(self._launcher.tuning, h * w, planes),
            pixel_launch(self._launcher.tuning, h * -(-w // SEGMENT), planes),
        )
        slots = torch.empty_like(areas)
        self._run(
            areas,
            [
                Launch(source, "location_link", pixels, (maps.keys, maps.parents, h, w), (1,)),
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
                    Launch(source, "location_number", pixels, numbers, (3, 4)),
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
        return components_source(CONFIDENCES[dtype])

    def _pixels(self, count: int, planes: int = 1) -> LaunchShape:
        return pixel_launch(self._launcher.tuning, count, planes)

    def _run(self, like: Tensor, launches: list[Launch]) -> None:
        self._launcher.run(like.device, launches)


def _tip_sums(row: NDArray[np.int64]) -> TipSums:
    count = int(row[0])
    sums = [tuple(int(v) for v in row[first : first + 3]) for first in (1, 4)]
    x, y = row[7:9].view(np.float64)
    return TipSums((float(x), float(y)), tuple((n, sx, sy) for n, sx, sy in sums[:count]))


def components_source(confidence: str) -> Source:
    """The source of components, for confidences of this C++ type."""
    return Source("location_components.cu", (("CONFIDENCE", confidence),))
