"""Augmentation that keeps labels true, drawn from a seed of its own and no global state.

augment = Augment(AugmentConfig(), (256, 320)); image, mask = augment(frame, mask, seed=7)
"""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.config import require
from trocar.contract.errors import ArgumentError

_THREAD = threading.local()
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_STRIP = 32  # rows: in float32 a strip of this height stays in the processor's cache


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What may be done to a training frame.

    Attributes:
        flip_horizontal: Chance of a left-right flip.
        flip_vertical: Chance of an upside-down flip.
        scale: Smallest and largest zoom.
        rotate: Largest rotation in degrees, either way.
        shift: Largest shift as a share of height and width.
        brightness: Largest relative change of the exposure.
        contrast: Largest relative change of the tone curve's slope at mid-grey, below 0.5.
        saturation: Largest relative change of saturation.
        hue: Largest turn of the hue in degrees.
        blur: Chance of a Gaussian blur of deviation 0.5 to 1.5 pixels.
        noise: Largest deviation of Gaussian noise in grey levels.
    """

    flip_horizontal: float = 0.5
    flip_vertical: float = 0.0
    scale: tuple[float, float] = (0.9, 1.6)
    rotate: float = 20.0
    shift: float = 0.1
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.25
    hue: float = 8.0
    blur: float = 0.15
    noise: float = 6.0

    def __post_init__(self) -> None:
        require(
            (0 <= self.flip_horizontal <= 1, "flip_horizontal must be 0..1"),
            (0 <= self.flip_vertical <= 1, "flip_vertical must be 0..1"),
            (0 < self.scale[0] <= self.scale[1], "scale must be two rising numbers above 0"),
            (0 <= self.rotate <= 180, "rotate must be 0..180"),
            (0 <= self.shift <= 1, "shift must be 0..1"),
            (0 <= self.brightness <= 1, "brightness must be 0..1"),
            (0 <= self.contrast < 0.5, "contrast must be at least 0 and below 0.5"),
            (0 <= self.saturation <= 1, "saturation must be 0..1"),
            (0 <= self.hue <= 180, "hue must be 0..180"),
            (0 <= self.blur <= 1, "blur must be 0..1"),
            (self.noise >= 0, "noise must be at least 0"),
        )


NO_AUGMENT = AugmentConfig(
    flip_horizontal=0,
    scale=(1, 1),
    rotate=0,
    shift=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur=0,
    noise=0,
)
"""Resizes and nothing else."""

LIGHT_AUGMENT = AugmentConfig(
    scale=(0.9, 1.3),
    rotate=15.0,
    brightness=0.15,
    contrast=0.12,
    saturation=0.12,
    hue=3.0,
    blur=0.0,
    noise=2.0,
)
"""For short runs, which have no time to learn what the full one teaches."""

AUGMENTATIONS = {"full": AugmentConfig(), "light": LIGHT_AUGMENT, "none": NO_AUGMENT}


@dataclass(frozen=True)
class Augment:
    """Turns a frame and its mask into what a network trains on.

    Attributes:
        config: What may be done.
        size: Height and width to give.
    """

    config: AugmentConfig
    size: tuple[int, int]

    def __call__(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.uint8] | None,
        seed: int,
        *,
        out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Draws one variant; equal seeds give equal bits.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
            mask: ``[H, W]`` uint8 class ids, 255 = ignored, or ``None``.
            seed: Any integer from 0 on.
            out: Tensors to write image and mask into, of the shapes and types returned; ``None``
                for new ones.

        Returns:
            Image ``[3, h, w]`` float32 0..255 RGB, mask ``[h, w]`` int64. What the geometry brings
            in from outside the frame is black, and ignored in the mask.
        """
        rng = np.random.default_rng(seed)
        warp = draw_warp(self.config, image.shape[:2], self.size, rng)
        pixels, ids = (None, None) if out is None else out
        if warp is None:
            return resize_eval(image, self.size, out=pixels), resize_mask(mask, self.size, out=ids)
        height, width = self.size
        moved = cv2.warpAffine(
            image, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        painted = photometric(moved, self.config, rng)
        tensor = planes(painted, out=pixels)
        if mask is None:
            return tensor, None
        labels = cv2.warpAffine(
            mask,
            warp,
            (width, height),
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(IGNORE_INDEX,),
        )
        return tensor, _ids(labels, ids)


def resize_eval(
    image: NDArray[np.uint8], size: tuple[int, int], *, out: Tensor | None = None
) -> Tensor:
    """Resizes as the exported graph does: bilinear, half-pixel, not antialiased, in float32.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        size: Height and width to give.
        out: ``[3, h, w]`` float32 to write into; ``None`` for a new one.

    Returns:
        ``[3, h, w]`` float32, 0..255.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ArgumentError(
            f"expected an image [H, W, 3] uint8, got {list(image.shape)} {image.dtype}",
            remedy="give the frame as it was decoded, as RGB",
        )
    same = image.shape[:2] == size
    return planes(image.astype(np.float32) if same else _resize_in_strips(image, size), out=out)


def _resize_in_strips(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """What OpenCV makes of the whole frame in float32, bit by bit, with less of it in memory."""
    height, pieces = image.shape[0], _strips(image.shape[0], size[0])
    # Fresh pages for a frame in float32 would take longer than the resizing itself.
    strip = _scratch((height // pieces, *image.shape[1:]))
    frame = np.empty((*size, 3), np.float32)
    for part, target in zip(np.split(image, pieces), np.split(frame, pieces), strict=True):
        np.copyto(strip, part)
        cv2.resize(strip, target.shape[1::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return frame


@functools.lru_cache(maxsize=64)
def _strips(source: int, target: int) -> int:
    """Number of equal strips that can be resized one by one: whole rows to whole rows.

    When rows get fewer, the two that each new one is made of lie in its own strip.
    """
    if target > source:
        return 1
    common = math.gcd(source, target)
    return max(
        (n for n in range(2, common + 1) if common % n == 0 and source // n >= _STRIP), default=1
    )


def planes(image: NDArray[np.float32], *, out: Tensor | None = None) -> Tensor:
    """``[3, h, w]`` of ``[h, w, 3]``; OpenCV takes half of the time that copying the axes does."""
    made = torch.empty((3, *image.shape[:2])) if out is None else out
    cv2.split(image, list(made.numpy()))
    return made


def _ids(labels: NDArray[np.uint8], out: Tensor | None) -> Tensor:
    if out is None:
        return torch.from_numpy(labels.astype(np.int64))
    np.copyto(out.numpy(), labels)
    return out


def _scratch(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float32 array that this thread uses again and again."""
    kept: NDArray[np.float32] | None = getattr(_THREAD, "frame", None)
    if kept is None or kept.shape != shape:
        kept = _THREAD.frame = np.empty(shape, np.float32)
    return kept


def resize_mask(
    mask: NDArray[np.uint8] | None, size: tuple[int, int], *, out: Tensor | None = None
) -> Tensor | None:
    """Resizes labels by the nearest pixel centre: ``[h, w]`` int64; no new value can arise."""
    if mask is None:
        return None
    labels = mask
    if mask.shape != size:
        labels = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return _ids(labels, out)


def draw_warp(
    config: AugmentConfig,
    source: tuple[int, int],
    target: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Draws the affine map from frame to network pixels: ``[2, 3]``, or ``None`` for no change.

    The draws do not depend on the configuration's values, so two runs that differ in one setting
    see the same frames otherwise.
    """
    flips, scale, turn = rng.random(2), rng.random(), rng.uniform(-1, 1)
    shift = rng.uniform(-1, 1, 2)
    if config == NO_AUGMENT:
        return None
    (sh, sw), (th, tw) = source, target
    low, high = config.scale
    zoom = float(np.exp(np.log(low) + scale * (np.log(high) - np.log(low))))
    angle = np.deg2rad(turn * config.rotate)
    # Rotate in the frame's own aspect ratio, then stretch to the network's size.
    stretch = np.diag((tw / sw, th / sh))
    rotation = zoom * np.array(
        ((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))), np.float64
    )
    mirror = np.diag(
        (
            -1.0 if flips[0] < config.flip_horizontal else 1.0,
            -1.0 if flips[1] < config.flip_vertical else 1.0,
        )
    )
    matrix = stretch @ rotation @ mirror
    # Centre to centre; pixel centres lie at whole numbers, hence the halves.
    centre_in = np.array(((sw - 1) / 2, (sh - 1) / 2))
    centre_out = np.array(((tw - 1) / 2, (th - 1) / 2)) + shift * config.shift * (tw, th)
    return np.column_stack((matrix, centre_out - matrix @ centre_in))


def photometric(
    image: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Changes light, colour and sharpness of ``[h, w, 3]`` uint8; float32 in 0..255.

    Black stays black but for noise, as it does under another lamp or exposure: what tells the dark
    round an endoscope's view from a dark shaft within it is that the one is black.
    """
    draws = rng.uniform(-1, 1, 4)
    blur, deviation, level = rng.random(), rng.uniform(0.5, 1.5), rng.random()
    noise_seed = int(rng.integers(2**63))
    toned = cv2.LUT(image, _tone_curve(config, draws))
    painted = np.asarray(cv2.transform(toned, _colour_map(config, draws)), np.float32)
    if blur < config.blur:
        painted = np.asarray(cv2.GaussianBlur(painted, (0, 0), deviation), np.float32)
    if config.noise:
        # The same in all channels: sensors are noisiest in light, and it costs a third.
        noise = np.random.Generator(np.random.SFC64(noise_seed)).standard_normal(
            (*painted.shape[:2], 1), np.float32
        )
        painted += noise * np.float32(level * config.noise)
    np.clip(painted, 0, 255, out=painted)
    return painted


def _tone_curve(config: AugmentConfig, draws: NDArray[np.float64]) -> NDArray[np.float32]:
    """Exposure and contrast as a table of the 256 grey levels; 0 stays 0."""
    light = np.arange(256) / 255 * (1 + draws[0] * config.brightness)
    light = np.minimum(light, 1.0)
    # A bow that leaves black, mid-grey and white in place and has a slope of 1 at mid-grey.
    bow = 4 * light * (1 - light) * (light - 0.5)
    return np.asarray(255 * (light + draws[1] * config.contrast * bow), np.float32)


def _colour_map(config: AugmentConfig, draws: NDArray[np.float64]) -> NDArray[np.float32]:
    """Saturation and hue as one linear map of RGB: ``[3, 3]``."""
    spread = 1 + draws[2] * config.saturation
    grey = np.tile(_LUMA, (3, 1))
    saturate = spread * np.eye(3) + (1 - spread) * grey
    # A turn about the grey axis keeps grey pixels grey (Rodrigues' formula).
    angle = np.deg2rad(draws[3] * config.hue)
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array(((0, -axis[2], axis[1]), (axis[2], 0, -axis[0]), (-axis[1], axis[0], 0)))
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    turn += (1 - np.cos(angle)) * np.outer(axis, axis)
    matrix: NDArray[np.float32] = (saturate @ turn).astype(np.float32)
    return matrix
