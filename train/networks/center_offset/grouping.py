"""From classes, centres and offsets of pixels to instances, without loops.

    found = group_pixels(logits, centers, offsets, max_instances=8)
    found["classes"], found["scores"], found["masks"]     # [N,Q], [N,Q], [N,Q,h,w]

Source: Cheng et al., "Panoptic-DeepLab", CVPR 2020, section 3.1. Centres are the places of the heat
map that are the highest of their neighbourhood. A pixel belongs to the centre that is nearest to
where its offset points; an instance has the class that most of its pixels have. The operations are
those that inference engines have: MaxPool, TopK, ArgMin, MatMul.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEAST_CENTER = 0.1
"""Lowest place of the heat map that is a centre."""

SPARE = 4
"""Centres beyond the largest number of instances, so that more instances can be counted."""

_FAR = 1e12


def group_pixels(
    logits: Tensor, centers: Tensor, offsets: Tensor, *, max_instances: int, radius: int = 3
) -> dict[str, Tensor]:
    """Makes candidates for instances; those of score 0 are none.

    Args:
        logits: ``[N,K,h,w]`` float32 of the classes; class 0 has no instances.
        centers: ``[N,h,w]`` float32 heat map.
        offsets: ``[N,2,h,w]`` float32, rows and columns from a pixel to its centre, pixels.
        max_instances: Largest number of instances.
        radius: Pixels up, down, left and right within which a centre is the highest place. From 24
            on, places are cells of 2, 4, 8 or 16 pixels.

    Returns:
        ``classes`` ``[N,Q]`` int64, counted from 0 for class 1; ``scores`` ``[N,Q]`` float32, 0..1,
        the heat at the centre times the mean probability of the class; ``masks`` ``[N,Q,h,w]``
        float32, 0 or 1, which do not overlap. Q is ``max_instances`` and `SPARE`.
    """
    height, width = logits.shape[-2:]
    step = _cell(radius, height, width)
    highest = _highest(centers, radius, step)
    count = min(max_instances + SPARE, highest[0].numel())
    heat, places = highest.flatten(1).topk(count, dim=1)
    is_center = heat >= LEAST_CENTER
    nearest = _nearest_center(offsets, places, is_center, step)

    shares = logits.softmax(dim=1)[:, 1:].flatten(2).transpose(1, 2)  # [N,hw,K-1]
    labels = logits.argmax(dim=1)
    numbers = torch.arange(count, device=logits.device).reshape(1, count, 1, 1)
    is_inside = (nearest[:, None] == numbers) & (labels[:, None] > 0)
    masks = (is_inside & is_center[:, :, None, None]).to(logits.dtype)

    pixels = masks.flatten(2)  # [N,Q,hw]
    rows = torch.arange(1, logits.shape[1], device=logits.device)
    votes = pixels @ (labels.flatten(1)[:, :, None] == rows).to(logits.dtype)
    classes = votes.argmax(dim=2)
    certain = (pixels @ shares).gather(2, classes[:, :, None])[:, :, 0]
    certain = certain / pixels.sum(dim=2).clamp(min=1)
    scores = heat.clamp(0, 1) * certain * is_center.to(heat.dtype)
    return {"classes": classes, "scores": scores, "masks": masks}


def _cell(radius: int, height: int, width: int) -> int:
    """Side of the cells in which centres are looked for: small beside the radius."""
    step = 1
    while step < 16 and radius >= 24 * step and height % (2 * step) == width % (2 * step) == 0:
        step *= 2
    return step


def _highest(centers: Tensor, radius: int, step: int) -> Tensor:
    """The heat map of cells, -1 where a neighbour is higher."""
    heat = centers[:, None]
    if step > 1:
        heat = functional.max_pool2d(heat, step, stride=step)
    reach = radius // step
    # Rows, then columns: a large square in one go costs the square of its side.
    around = functional.max_pool2d(heat, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    around = functional.max_pool2d(around, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    return torch.where(heat == around, heat, torch.full_like(heat, -1.0))[:, 0]


def _nearest_center(offsets: Tensor, places: Tensor, is_center: Tensor, step: int) -> Tensor:
    """``[N,h,w]`` number of the centre nearest to where each pixel points.

    Args:
        offsets: ``[N,2,h,w]``, pixels.
        places: ``[N,Q]`` numbers of cells.
        is_center: ``[N,Q]``.
        step: Side of a cell in pixels.
    """
    height, width = offsets.shape[-2:]
    rows = torch.arange(height, device=offsets.device, dtype=offsets.dtype)[:, None]
    columns = torch.arange(width, device=offsets.device, dtype=offsets.dtype)[None]
    cells = width // step
    cell_rows = torch.div(places, cells, rounding_mode="floor")
    middle = (step - 1) / 2
    center_rows = cell_rows.to(offsets.dtype) * step + middle
    center_columns = (places - cell_rows * cells).to(offsets.dtype) * step + middle
    down = (offsets[:, 0] + rows)[:, None] - center_rows[:, :, None, None]
    right = (offsets[:, 1] + columns)[:, None] - center_columns[:, :, None, None]
    distance = down * down + right * right
    none = (~is_center).to(offsets.dtype)[:, :, None, None] * _FAR
    return (distance + none).argmin(dim=1)
