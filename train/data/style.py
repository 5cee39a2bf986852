"""Style transfer: gives a source image the colours of a target image, without moving anything.

    transfer = make_style("fourier", beta=0.01); styled = transfer(source, target)

All functions take and return images before normalisation: ``[B, 3, H, W]`` float32 RGB, 0..255.
Source ``b`` gets the style of target ``b`` (modulo the number of targets). The functions use no
random numbers, have no gradient, and compute in float32 under autocast too.

Black pixels surround the round view of an endoscope, and augmentation adds more of them. They take
no part in the statistics of ``reinhard``, and black stays black (`lit_weight`).

Sources: fourier, Yang and Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", CVPR
2020; reinhard, Reinhard et al., "Color Transfer between Images", 2001, here in CIE Lab.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from trocar.contract.config import unknown
from trocar.contract.errors import ArgumentError, ConfigError, DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, read_image
from trocar.train.constants import constant
from trocar.train.data.sample import Fault, FrameSet, Item, Sample, raise_faults

Style = Literal["fourier", "reinhard", "histogram", "none"]
Transfer = Callable[[Tensor, Tensor], Tensor]

# sRGB primaries with white D65, and the white itself.
_XYZ_FROM_RGB = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)


BLACK, LIT = 8.0, 32.0
"""A pixel whose brightest channel is at most the first is black, from the second on it is lit."""
MAX_RATIO = 1.5
"""Largest ratio of deviations; its inverse is the smallest."""


def make_style(
    kind: str, *, beta: float = 0.01, max_ratio: float = MAX_RATIO, strength: float = 1.0
) -> Transfer:
    """The transfer of a name: ``fourier``, ``reinhard``, ``histogram`` or ``none``.

    Args:
        kind: The name.
        beta: See `fourier`.
        max_ratio: See `reinhard`.
        strength: Share of the change that is made: 1 is the whole transfer, 0 none.

    Raises:
        ConfigError: The name is unknown, or ``beta`` is out of range.
    """
    transfer = _make_style(kind, beta=beta, max_ratio=max_ratio)
    if strength == 1 or kind == "none":
        return transfer
    return functools.partial(_partly, transfer=transfer, strength=strength)


def _partly(source: Tensor, target: Tensor, *, transfer: Transfer, strength: float) -> Tensor:
    return torch.lerp(source.float(), transfer(source, target), strength)


def _make_style(kind: str, *, beta: float, max_ratio: float) -> Transfer:
    if kind == "fourier":
        if not 0 <= beta < 0.5:
            raise ConfigError(
                f"beta is {beta}, expected 0 to below 0.5", remedy="0.01 suits most images"
            )
        return functools.partial(fourier, beta=beta)
    plain: dict[str, Transfer] = {
        "reinhard": functools.partial(reinhard, max_ratio=max_ratio),
        "histogram": histogram,
        "none": none,
    }
    if kind not in plain:
        raise ConfigError(
            f"style transfer {unknown(kind, get_args(Style))}",
            remedy=f"choose one of {', '.join(get_args(Style))}, or name a folder of images",
        )
    return plain[kind]


def _exact(transfer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Runs a transfer without gradient and in float32: half precision shifts colours."""

    @functools.wraps(transfer)
    def run(source: Tensor, target: Tensor, **options: float) -> Tensor:
        with torch.no_grad(), torch.autocast(source.device.type, enabled=False):
            return transfer(source, target, **options)

    return run


@_exact
def none(source: Tensor, target: Tensor) -> Tensor:
    """Returns the source unchanged."""
    return source


@_exact
def fourier(source: Tensor, target: Tensor, *, beta: float = 0.01) -> Tensor:
    """Replaces the amplitudes of the lowest frequencies by those of the target; the phase stays.

    Args:
        source: ``[B, 3, H, W]`` float32, 0..255.
        target: ``[B', 3, H', W']`` float32, 0..255; resized to the source's size where it differs.
        beta: The window of frequencies extends ``floor(beta * min(H, W))`` to both sides of zero.
    """
    look = _paired(source, target)
    height, width = source.shape[-2:]
    reach = int(beta * min(height, width))
    spectrum = torch.fft.rfft2(source.float())
    amplitude, phase = spectrum.abs(), spectrum.angle()
    other = torch.fft.rfft2(look).abs()
    # In the half spectrum, low rows are at both ends and low columns at the start.
    amplitude[..., : reach + 1, : reach + 1] = other[..., : reach + 1, : reach + 1]
    if reach:
        amplitude[..., -reach:, : reach + 1] = other[..., -reach:, : reach + 1]
    mixed: Tensor = torch.fft.irfft2(torch.polar(amplitude, phase), s=(height, width))
    return mixed.clamp(0, 255)


@_exact
def reinhard(
    source: Tensor, target: Tensor, *, max_ratio: float = MAX_RATIO, keep_grey: bool = True
) -> Tensor:
    """Gives each Lab channel of the lit pixels the target's mean and standard deviation.

    Args:
        source: ``[B, 3, H, W]`` float32, 0..255.
        target: ``[B', 3, H', W']`` float32, 0..255; resized to the source's size where it differs.
        max_ratio: Largest factor on the deviation of a channel, 1 or more; its inverse is the
            smallest. Without the bound an almost grey source would be blown up to strong colours.
        keep_grey: Colours change in proportion to the pixel's chroma, up to the image's mean one.
            A grey shaft stays grey beside tissue that gets another hue; Reinhard's own transfer
            shifts all pixels alike and turns it teal.

    Returns:
        ``[B, 3, H, W]`` float32; black pixels as they were, and so are all where the source or
        the target has no lit pixel.
    """
    look = _paired(source, target)
    image = source.float()
    own, others = lit_weight(image), lit_weight(look)
    lab, other = lab_from_rgb(image), lab_from_rgb(look)
    mean, deviation = _moments(lab, own)
    middle, wanted = _moments(other, others)
    ratio = (wanted / deviation.clamp_min(1e-6)).clamp(1 / max_ratio, max_ratio)
    moved = (lab - mean) * ratio + middle
    if keep_grey:
        chroma, usual = _chroma(lab), _chroma(mean)
        moved[:, 1:] = torch.lerp(
            lab[:, 1:], moved[:, 1:], (chroma / usual.clamp_min(1e-3)).clamp(0, 1)
        )
    changed = rgb_from_lab(moved)
    usable = (own.sum((2, 3), keepdim=True) > 0) & (others.sum((2, 3), keepdim=True) > 0)
    return torch.lerp(image, changed, own * usable)


def lit_weight(image: Tensor) -> Tensor:
    """How much of each pixel is lit: 0 for black, 1 for the view, ``[B, 1, H, W]`` 0..1."""
    brightest = image.amax(1, keepdim=True)
    return ((brightest - BLACK) / (LIT - BLACK)).clamp(0, 1)


def _chroma(lab: Tensor) -> Tensor:
    """Distance from grey, ``[B, 1, H, W]``."""
    return lab[:, 1:].square().sum(1, keepdim=True).sqrt()


def _moments(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the weighted pixels, ``[B, C, 1, 1]``."""
    total = weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean = (image * weight).sum((2, 3), keepdim=True) / total
    variance = ((image - mean).square() * weight).sum((2, 3), keepdim=True) / total
    return mean, variance.sqrt()


@_exact
def histogram(source: Tensor, target: Tensor) -> Tensor:
    """Gives each RGB channel the target's distribution over 256 grey levels."""
    look = _paired(source, target)
    levels = torch.arange(256, device=source.device)
    image = source.float().flatten(2)  # [B,3,N]
    mine, theirs = _counts(image), _counts(look.flatten(2))
    # Quantiles of the source's levels, to levels of the target, to the pixels between levels.
    own = _Curve(x=mine.cumsum(2) / image.shape[2], used=mine > 0)
    other = _Curve(x=(theirs.cumsum(2) / look[0, 0].numel()).float(), used=theirs > 0)
    right = torch.searchsorted(other.x, own.x).clamp(max=255)
    table = other.at(own.x, right, levels.float().expand_as(own.x))
    # A pixel lies between the used levels beside it; resizing produces values between two.
    right = image.ceil().long().clamp(0, 255)
    values = _Curve(x=levels.float().expand_as(own.x).contiguous(), used=own.used)
    return values.at(image, right, table).view_as(source)


class _Curve:
    """Points of which some count, ``[B,C,256]`` each, to interpolate between.

    Which count is never read to the host, so that the GPU is not waited for.
    """

    def __init__(self, *, x: Tensor, used: Tensor) -> None:
        places = torch.arange(256, device=x.device).expand_as(x)
        after = torch.where(used, places, 255).flip(2).cummin(2).values.flip(2)
        before = torch.where(used, places, 0).cummax(2).values
        first, last = after[..., :1], before[..., -1:]
        self.x, self.used = x, used
        # The used point at or after each place, and the last one before that.
        self.right = torch.minimum(after, last)
        self.left = torch.maximum(before.roll(1, 2).index_fill(2, places[0, 0, :1], 0), first)

    def at(self, x: Tensor, place: Tensor, y: Tensor) -> Tensor:
        """Values ``[B,C,N]`` at ``x``; ``place`` is the first point not below it."""
        right = self.right.gather(2, place)
        left = self.left.gather(2, right)
        x0, x1 = self.x.gather(2, left), self.x.gather(2, right)
        y0, y1 = y.gather(2, left), y.gather(2, right)
        # The first used point has none before it.
        share = ((x - x0) / torch.where(left == right, 1.0, x1 - x0)).clamp(0, 1)
        return y0 + (y1 - y0) * share


def _counts(image: Tensor) -> Tensor:
    """Histograms ``[B,C,256]`` int64 of ``[B,C,N]``; ``bincount`` would wait for the GPU."""
    levels = image.round().long().clamp(0, 255)
    counts = torch.zeros(*image.shape[:2], 256, dtype=torch.int64, device=image.device)
    return counts.scatter_add_(2, levels, torch.ones_like(levels))


def transferred_frames(frames: FrameSet, folder: Path) -> FrameSet:
    """The same labels with images whose style was transferred beforehand.

    Args:
        frames: The source set.
        folder: Holds an image of the same size for each frame: ``<name>.png`` or another suffix.

    Raises:
        DataError: Images are missing; the text has the first ones and their number.
    """
    pictures: dict[str, Path] = {}
    faults = []
    for item in frames.items:
        found = [folder / f"{item.name}{suffix}" for suffix in IMAGE_SUFFIXES]
        there = [path for path in found if path.is_file()]
        if there:
            pictures[item.name] = there[0]
        else:
            faults.append(Fault(file=found[0], text="is missing: the transferred image"))
    raise_faults(folder, faults)
    read = functools.partial(_read_transferred, source=frames.read, pictures=pictures)
    return replace(frames, name=f"{frames.name} in the style of {folder.name}", read=read)


def _read_transferred(
    item: Item, *, source: Callable[[Item], Sample], pictures: dict[str, Path]
) -> Sample:
    sample = source(item)
    path = pictures[item.name]
    image = read_image(path)
    if image.shape != sample.image.shape:
        raise DataError(
            f"{path} is {image.shape[1]}x{image.shape[0]}, its source {item.image} is "
            f"{sample.image.shape[1]}x{sample.image.shape[0]}",
            remedy="transfer the image again without changing its size, so that the labels fit",
        )
    return replace(sample, image=image)


def lab_from_rgb(image: Tensor) -> Tensor:
    """CIE Lab (D65) of ``[..., 3, H, W]`` sRGB 0..255."""
    unit = image / 255
    linear = torch.where(unit > 0.04045, ((unit + 0.055) / 1.055).clamp_min(0) ** 2.4, unit / 12.92)
    xyz = torch.einsum("ij,...jhw->...ihw", constant(_XYZ_FROM_RGB, like=linear), linear)
    ratio = xyz / constant(_WHITE, like=linear)[:, None, None]
    root = torch.where(
        ratio > (6 / 29) ** 3,
        ratio.clamp_min(1e-12) ** (1 / 3),
        ratio / (3 * (6 / 29) ** 2) + 4 / 29,
    )
    x, y, z = root.unbind(-3)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -3)


def rgb_from_lab(lab: Tensor) -> Tensor:
    """SRGB 0..255 of ``[..., 3, H, W]`` CIE Lab (D65), clipped to the range."""
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    root = torch.stack((y + a / 500, y, y - b / 200), -3)
    ratio = torch.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))
    xyz = ratio * constant(_WHITE, like=lab)[:, None, None]
    linear = torch.einsum("ij,...jhw->...ihw", constant(_rgb_from_xyz(), like=lab), xyz).clamp(0, 1)
    unit = torch.where(
        linear > 0.0031308,
        1.055 * linear.clamp_min(1e-12) ** (1 / 2.4) - 0.055,
        12.92 * linear,
    )
    return (255 * unit).clamp(0, 255)


@functools.cache
def _rgb_from_xyz() -> tuple[tuple[float, ...], ...]:
    inverse = torch.linalg.inv(torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64))
    return tuple(map(tuple, inverse.tolist()))


def _paired(source: Tensor, target: Tensor) -> Tensor:
    for name, images in (("source", source), ("target", target)):
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ArgumentError(
                f"{name} is {list(images.shape)} {images.dtype}, expected [B, 3, H, W] float",
                remedy="pass images before normalisation, 0..255",
            )
    if not len(target):
        raise ArgumentError("there is no target image", remedy="pass at least one")
    order = torch.arange(len(source), device=target.device) % len(target)
    look = target.float()[order].to(source.device)
    if look.shape[-2:] != source.shape[-2:]:
        look = torch.nn.functional.interpolate(
            look, size=source.shape[-2:], mode="bilinear", align_corners=False
        )
    return look
