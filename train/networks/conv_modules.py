"""The four cascaded convolution modules of the few-shot classifier.

    ConvModules()(torch.rand(2, 3, 84, 84)).shape        # [2,256,5,5]

Source: Tianyi Cloud, 2023.
"""

from __future__ import annotations

from torch import Tensor, nn

KERNEL = 3
CHANNELS = (64, 96, 128, 256)


class ConvModules(nn.Module):
    """Four cascaded modules of three 3×3 convolutions with ReLU, and one max-pool after the last.

    Each module but the first halves the map with its first convolution.

    Args:
        channels: Of the four modules.
        batch_norm: Normalise after each convolution.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, *, batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for number, outside in enumerate(channels):
            module: list[nn.Module] = []
            for place in range(3):
                stride = 2 if number and not place else 1
                module.append(
                    nn.Conv2d(
                        inside, outside, KERNEL, stride=stride, padding=1, bias=not batch_norm
                    )
                )
                module += [nn.BatchNorm2d(outside)] if batch_norm else []
                module.append(nn.ReLU())
                inside = outside
            layers.append(nn.Sequential(*module))
        self.layers = nn.ModuleList(layers)
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised ``[B,3,h,w]`` to ``[B,C,h/16,w/16]``."""
        for layer in self.layers:
            image = layer(image)
        pooled: Tensor = self.pool(image)
        return pooled
