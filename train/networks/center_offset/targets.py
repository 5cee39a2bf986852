"""What centres and offsets must be: from instance maps, after augmentation has moved them.

target = center_targets(numbers, mask, instruments=(1, 2), most=8, sigma=4.0)
target.heat, target.offsets, target.is_counted, target.is_instance
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX
from trocar.train.constants import constant


class CenterTargets(NamedTuple):
    """Targets of a batch.

    Attributes:
        heat: ``[B,h,w]`` float32, 1 at a centre, falling like a Gaussian.
        offsets: ``[B,2,h,w]`` float32, rows and columns to the centre, pixels; 0 outside.
        is_counted: ``[B,h,w]`` bool, pixels that the heat is learnt on: those whose label is known,
            without instruments of no number.
        is_instance: ``[B,h,w]`` bool, pixels that the offsets are learnt on.
    """

    heat: Tensor
    offsets: Tensor
    is_counted: Tensor
    is_instance: Tensor


@torch.no_grad()
def center_targets(
    numbers: Tensor, mask: Tensor, *, instruments: Sequence[int], most: int, sigma: float
) -> CenterTargets:
    """Centres of mass of the visible pixels of each instance.

    Args:
        numbers: ``[B,h,w]`` integers, 0 for no instance; numbers above ``most`` count as unknown.
        mask: ``[B,h,w]`` int64 class ids.
        instruments: Classes that have instances.
        most: Largest number of an instance.
        sigma: Standard deviation of the Gaussian in pixels.
    """
    height, width = numbers.shape[-2:]
    is_instrument = torch.isin(mask, constant(tuple(instruments), like=mask))
    known = torch.where(is_instrument & (numbers <= most), numbers.long(), 0)
    rows = torch.arange(height, device=mask.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=mask.device)[None].expand(height, width)
    # Sums of integers, for all numbers that there may be: the host never asks how many there are.
    pixels, down, right = (
        torch.zeros(len(known), most + 1, dtype=torch.int64, device=mask.device).scatter_add_(
            1, known.flatten(1), values.flatten().expand(len(known), -1)
        )
        for values in (torch.ones_like(rows), rows, columns)
    )
    row, column = (sums.float() / pixels.clamp(min=1) for sums in (down, right))
    nearest = torch.full(numbers.shape, torch.inf, device=mask.device)
    for number in range(1, most + 1):
        across = (columns[0] - column[:, number, None]).square()
        along = (rows[:, 0] - row[:, number, None]).square()
        along = torch.where(pixels[:, number, None] > 0, along, torch.inf)
        nearest = torch.minimum(nearest, along[:, :, None] + across[:, None])
    heat = torch.exp(-nearest / (2 * sigma**2))
    own_row, own_column = (
        values.gather(1, known.flatten(1)).view(known.shape) for values in (row, column)
    )
    down = torch.where(known > 0, own_row - rows, 0.0)
    right = torch.where(known > 0, own_column - columns, 0.0)
    is_instance = known > 0
    is_counted = (mask != IGNORE_INDEX) & (is_instance | ~is_instrument)
    return CenterTargets(heat, torch.stack([down, right], dim=1), is_counted, is_instance)
