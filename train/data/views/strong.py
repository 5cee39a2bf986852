"""A strongly changed view of images, for the student of a mean teacher.

    view = strong_view(image)            # [B,3,h,w] 0..255 to the same

Exposure, tone, colour, blur and one cut-out box, drawn for each image anew from torch's default
generator, on the image's device. Nothing moves, so labels and a teacher's output still fit. Black
stays black outside of the box.

Sources: colour and blur, Chen et al., "A Simple Framework for Contrastive Learning", ICML 2020;
cut-out, DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trocar.train.constants import constant

EXPOSURE = (0.6, 1.4)
GAMMA = (0.7, 1.4)
CHANNEL_GAIN = (0.85, 1.15)
SATURATION = (0.3, 1.7)
BLUR_CHANCE = 0.5
BLUR_DEVIATION = (0.5, 2.0)
"""Of the Gaussian, in pixels."""
BOX_SIDE = (0.15, 0.4)
"""Sides of the cut-out box as shares of height and width."""

_RADIUS = 5
_LUMA = (0.299, 0.587, 0.114)


@torch.no_grad()
def strong_view(image: Tensor) -> Tensor:
    """Changes colours, blurs, and cuts out a box, which gets the image's mean colour.

    Args:
        image: ``[B,3,h,w]`` float32 RGB 0..255.

    Returns:
        The same shape, float32 0..255.
    """
    with torch.autocast(image.device.type, enabled=False):
        return cut_out(blur(recolour(image.float())))


def recolour(image: Tensor) -> Tensor:
    """Other exposure, gamma, gain of each channel, and saturation; black stays black."""
    unit = (image / 255 * _draw(image, EXPOSURE) * _draw(image, CHANNEL_GAIN, channels=3)).clamp(0)
    # The small number keeps the gradient-free power finite at 0.
    toned = unit.clamp_min(1e-8) ** _draw(image, GAMMA)
    luma = (toned * constant(_LUMA, like=toned)[:, None, None]).sum(1, keepdim=True)
    return (255 * torch.lerp(luma, toned, _draw(image, SATURATION))).clamp(0, 255)


def blur(image: Tensor) -> Tensor:
    """Gaussian blur of about half of the images."""
    count, channels = image.shape[:2]
    deviation = _draw(image, BLUR_DEVIATION)
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=image.device, dtype=image.dtype)
    kernel = (-0.5 * (offsets / deviation[:, :, 0]) ** 2).exp()  # [B,1,2R+1]
    kernel = kernel / kernel.sum(-1, keepdim=True)
    taps = kernel.repeat_interleave(channels, 0)  # [B*C,1,2R+1]
    padded = functional.pad(image, (_RADIUS,) * 4, mode="replicate")
    rows = padded.reshape(1, count * channels, *padded.shape[2:])
    across = functional.conv2d(rows, taps[:, :, None, :], groups=count * channels)
    both = functional.conv2d(across, taps[:, :, :, None], groups=count * channels)
    chosen = torch.rand(count, 1, 1, 1, device=image.device) < BLUR_CHANCE
    return torch.where(chosen, both.reshape(image.shape), image)


def cut_out(image: Tensor) -> Tensor:
    """Fills one box of each image with its mean colour."""
    count, _, height, width = image.shape
    result = image.clone()
    draws = torch.rand(count, 4).tolist()
    for index, (tall, wide, down, right) in enumerate(draws):
        low, high = BOX_SIDE
        h = max(int((low + tall * (high - low)) * height), 1)
        w = max(int((low + wide * (high - low)) * width), 1)
        top, left = int(down * (height - h)), int(right * (width - w))
        mean = image[index].mean((1, 2), keepdim=True)
        result[index, :, top : top + h, left : left + w] = mean
    return result


def _draw(image: Tensor, limits: tuple[float, float], *, channels: int = 1) -> Tensor:
    low, high = limits
    drawn = torch.rand(len(image), channels, 1, 1, device=image.device, dtype=image.dtype)
    return low + drawn * (high - low)
