"""The four cascaded convolution modules of the few-shot classifier.

    ConvModules()(torch.rand(2, 3, 84, 84)).shape        # [2,256,5,5]

Source: Tianyi Cloud, 2023.
"""

from __future__ import annotations

from torch import Tensor, nn

KERNEL = 3
CHANNELS = (64, 96, 128, 256)


class ConvModules(nn.Module):
    """Four modules of three 3×3 convolutions with ReLU each, and a max-pool after the last one.

    Every module but the first halves the map with its first convolution.

    Args:
        channels: Of the four modules.
        batch_norm: Normalise after each convolution.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, *, batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for number, out_channels in enumerate(channels):
            module: list[nn.Module] = []
            for index in range(3):
                stride = 2 if number and not index else 1
                module.append(
                    nn.Conv2d(
                        in_channels,
                        out_channels,
                        KERNEL,
                        stride=stride,
                        padding=1,
                        bias=not batch_norm,
                    )
                )
                module += [nn.BatchNorm2d(out_channels)] if batch_norm else []
                module.append(nn.ReLU())
                in_channels = out_channels
            layers.append(nn.Sequential(*module))
        self.layers = nn.ModuleList(layers)
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised ``[B,3,h,w]`` to ``[B,C,h/16,w/16]``."""
        for layer in self.layers:
            image = layer(image)
        pooled: Tensor = self.pool(image)
        return pooled
