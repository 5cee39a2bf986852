"""Normalisations that depend on the image, and images with exchanged axes, as parts of a graph.

prepare = Steps([MinMax(), Affine(scale=2.0, offset=-1.0)])
prepare(image)                                   # [N,3,h,w] float32 0..255
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_SMALLEST = 1e-8


class Steps(nn.Module):
    """Applies normalisations one after the other: ``[N,3,h,w]`` to ``[N,3,h,w]`` float32."""

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, image: Tensor) -> Tensor:
        """The normalised image."""
        for step in self.steps:
            image = step(image)
        return image


class ZScore(nn.Module):
    """Subtracts the mean of each image and divides by its standard deviation (population).

    Args:
        channel_wise: Whether each channel has its own statistics.
        nonzero: Whether pixels of value 0 are left out of the statistics and stay 0.
    """

    def __init__(self, *, channel_wise: bool = True, nonzero: bool = False) -> None:
        super().__init__()
        self.over = (2, 3) if channel_wise else (1, 2, 3)
        self.nonzero = nonzero

    def forward(self, image: Tensor) -> Tensor:
        """The normalised image."""
        if not self.nonzero:
            centred = image - image.mean(self.over, keepdim=True)
            deviation = (centred * centred).mean(self.over, keepdim=True).sqrt()
            return centred / deviation.clamp(min=_SMALLEST)
        mask = (image != 0).to(image.dtype)
        count = mask.sum(self.over, keepdim=True).clamp(min=1)
        centred = (image - image.sum(self.over, keepdim=True) / count) * mask
        deviation = ((centred * centred).sum(self.over, keepdim=True) / count).sqrt()
        return centred / deviation.clamp(min=_SMALLEST)


class MinMax(nn.Module):
    """Scales each image so that its smallest value is ``low`` and its largest is ``high``.

    Args:
        channel_wise: Whether each channel is scaled by itself.
        low: Smallest value of the result.
        high: Largest value of the result.
    """

    def __init__(self, *, channel_wise: bool = False, low: float = 0, high: float = 1) -> None:
        super().__init__()
        self.over = (2, 3) if channel_wise else (1, 2, 3)
        self.low, self.high = low, high

    def forward(self, image: Tensor) -> Tensor:
        """The scaled image."""
        low = image.amin(self.over, keepdim=True)
        width = (image.amax(self.over, keepdim=True) - low).clamp(min=_SMALLEST)
        return (image - low) / width * (self.high - self.low) + self.low


class Affine(nn.Module):
    """Multiplies and adds: the same for every image.

    Args:
        scale: Factor, one for all channels or three.
        offset: Summand, one for all channels or three.
        before: Range that values are clipped to first; ``None`` for no clipping.
        after: Range that the results are clipped to; ``None`` for no clipping.
    """

    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        *,
        scale: float | Sequence[float] = 1.0,
        offset: float | Sequence[float] = 0.0,
        before: tuple[Sequence[float], Sequence[float]] | None = None,
        after: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.after = after
        self.is_clipped = before is not None
        self.register_buffer("scale", _channels(scale))
        self.register_buffer("offset", _channels(offset))
        if before is not None:
            self.register_buffer("low", _channels(before[0]))
            self.register_buffer("high", _channels(before[1]))

    def forward(self, image: Tensor) -> Tensor:
        """The changed image."""
        if self.is_clipped:
            image = torch.minimum(
                torch.maximum(image, self.get_buffer("low")), self.get_buffer("high")
            )
        image = image * self.scale + self.offset
        return image if self.after is None else image.clamp(*self.after)


class Transposed(nn.Module):
    """Exchanges height and width before a network and, of a picture, behind it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> object:
        """``[N,3,h,w]`` to the network's output, as if it took pictures that way."""
        output = self.network(image.transpose(2, 3))
        if isinstance(output, Tensor):
            return output.transpose(2, 3) if output.ndim == 4 else output
        if isinstance(output, (list, tuple)):
            return [value.transpose(2, 3) if value.ndim == 4 else value for value in output]
        return output


def _channels(values: float | Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
