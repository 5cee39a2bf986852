"""Augmentation of a frame together with its labels, drawn from a seed and from no global state.

    augment = Augment(AugmentConfig(), (256, 320)); image, mask = augment(frame, mask, seed=7)

The operations, in this order:

1. warp: flips, zoom, rotation and shift as one affine map, for image and mask alike; it also
   resizes to the network's size (`draw_warp`);
2. border: what surrounds the view of an endoscope (`trocar.train.data.borders`);
3. tone: exposure and contrast as one table of 256 grey levels;
4. colour: saturation and hue as one linear map of RGB;
5. blur: Gaussian;
6. noise: Gaussian, the same in all channels.

`NO_AUGMENT` only resizes, exactly as the exported graph does (`resize_eval`).
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.config import Range, check_ranges
from trocar.contract.errors import ArgumentError
from trocar.train.data.borders import draw_border

_THREAD = threading.local()
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_STRIP = 32  # rows; a float32 strip of this height fits into the processor's cache
_Pixels = NDArray[np.uint8 | np.float32]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Strength of the augmentation of a training frame.

    Attributes:
        flip_horizontal: Probability of a left-right flip.
        flip_vertical: Probability of an upside-down flip.
        scale: Smallest and largest zoom.
        rotate: Largest rotation in degrees, in both directions.
        shift: Largest shift as a fraction of height and width.
        brightness: Largest relative change of the exposure.
        contrast: Largest relative change of the tone curve's slope at mid-grey.
        saturation: Largest relative change of the saturation.
        hue: Largest rotation of the hue in degrees.
        blur: Probability of a Gaussian blur with a standard deviation of 0.5 to 1.5 pixels.
        noise: Largest standard deviation of the Gaussian noise in grey levels.
        border: Probability of a pasted border: a round or octagonal view, or bars; labels outside
            of the view become background.
    """

    flip_horizontal: Annotated[float, Range(0, 1)] = 0.5
    flip_vertical: Annotated[float, Range(0, 1)] = 0.0
    scale: Annotated[tuple[float, float], Range(0, open_low=True)] = (0.9, 1.6)
    rotate: Annotated[float, Range(0, 180)] = 20.0
    shift: Annotated[float, Range(0, 1)] = 0.1
    brightness: Annotated[float, Range(0, 1)] = 0.25
    contrast: Annotated[float, Range(0, 0.5, open_high=True)] = 0.25
    saturation: Annotated[float, Range(0, 1)] = 0.25
    hue: Annotated[float, Range(0, 180)] = 8.0
    blur: Annotated[float, Range(0, 1)] = 0.15
    noise: Annotated[float, Range(0)] = 6.0
    border: Annotated[float, Range(0, 1)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(
            self, (self.scale[0] <= self.scale[1], "scale must have the smaller number first")
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
"""Only resizes."""

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
"""Weaker, for short runs: with few steps, full augmentation costs accuracy."""

AUGMENTATIONS = {"full": AugmentConfig(), "light": LIGHT_AUGMENT, "none": NO_AUGMENT}


@dataclass(frozen=True)
class Augment:
    """Turns a frame and its mask into a training sample of the network's size.

    Attributes:
        config: Strength of the augmentation.
        size: Height and width of the sample.
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
        """Makes one variant; equal seeds give results that are equal bit for bit.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
            mask: ``[H, W]`` uint8 class ids, 255 = ignored, or ``None``.
            seed: Any integer of 0 or more.
            out: Tensors for image and mask, of the shapes and types returned; ``None`` for new
                ones.

        Returns:
            Image ``[3, h, w]`` float32 0..255 RGB, mask ``[h, w]`` int64. Pixels from outside the
            frame are black in the image and 255 (ignored) in the mask; those outside of a pasted
            view are background.
        """
        rng = np.random.default_rng(seed)
        warp = draw_warp(self.config, image.shape[:2], self.size, rng)
        pixels, ids = (None, None) if out is None else out
        if warp is None:
            return resize_eval(image, self.size, out=pixels), resize_mask(mask, self.size, out=ids)
        height, width = self.size
        moved = np.asarray(
            cv2.warpAffine(
                image, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
            ),
            np.uint8,
        )
        border = draw_border(
            self.config.border, self.size, aspect=image.shape[1] / image.shape[0], seed=seed
        )
        if border is not None:
            moved = border.paste(moved)
        tensor = planes(photometric(moved, self.config, rng), out=pixels)
        if mask is None:
            return tensor, None
        labels = np.asarray(
            cv2.warpAffine(
                mask,
                warp,
                (width, height),
                flags=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(IGNORE_INDEX,),
            ),
            np.uint8,
        )
        return tensor, _ids(labels if border is None else border.clear(labels), ids)


def resize_eval(
    image: NDArray[np.uint8], size: tuple[int, int], *, out: Tensor | None = None
) -> Tensor:
    """Resizes as the exported graph does: bilinear, half-pixel, not antialiased, in float32.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        size: Height and width of the result.
        out: ``[3, h, w]`` float32 for the result; ``None`` for a new tensor.

    Returns:
        ``[3, h, w]`` float32, 0..255.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ArgumentError(
            f"expected an image [H, W, 3] uint8, got {list(image.shape)} {image.dtype}",
            remedy="pass the decoded frame as RGB",
        )
    same = image.shape[:2] == size
    return planes(image.astype(np.float32) if same else _resize_in_strips(image, size), out=out)


def _resize_in_strips(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Equal, bit for bit, to one resize of the whole float32 frame, with less memory."""
    height, pieces = image.shape[0], _strips(image.shape[0], size[0])
    # Allocating a whole float32 frame would take longer than the resize itself.
    strip = _scratch((height // pieces, *image.shape[1:]))
    frame = np.empty((*size, 3), np.float32)
    for part, target in zip(np.split(image, pieces), np.split(frame, pieces), strict=True):
        np.copyto(strip, part)
        cv2.resize(strip, target.shape[1::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return frame


@functools.lru_cache(maxsize=64)
def _strips(source: int, target: int) -> int:
    """Largest number of equal strips that can be resized one by one, of whole rows.

    Only for downsizing: there, both source rows of each target row lie in the same strip.
    """
    if target > source:
        return 1
    common = math.gcd(source, target)
    return max(
        (n for n in range(2, common + 1) if common % n == 0 and source // n >= _STRIP), default=1
    )


def planes(image: NDArray[np.float32], *, out: Tensor | None = None) -> Tensor:
    """``[3, h, w]`` from ``[h, w, 3]``, by OpenCV, which is faster than a transposed copy."""
    tensor = torch.empty((3, *image.shape[:2])) if out is None else out
    cv2.split(image, list(tensor.numpy()))
    return tensor


def _ids(labels: NDArray[np.uint8], out: Tensor | None) -> Tensor:
    if out is None:
        return torch.from_numpy(labels.astype(np.int64))
    np.copyto(out.numpy(), labels)
    return out


def _scratch(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float32 array that this thread reuses."""
    array: NDArray[np.float32] | None = getattr(_THREAD, "frame", None)
    if array is None or array.shape != shape:
        array = _THREAD.frame = np.empty(shape, np.float32)
    return array


def resize_mask(
    mask: NDArray[np.uint8] | None, size: tuple[int, int], *, out: Tensor | None = None
) -> Tensor | None:
    """Resizes labels by the nearest pixel centre: ``[h, w]`` int64."""
    if mask is None:
        return None
    labels: cv2.typing.MatLike = mask
    if mask.shape != size:
        labels = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return _ids(np.asarray(labels, np.uint8), out)


def draw_warp(
    config: AugmentConfig,
    source: tuple[int, int],
    target: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Draws the affine map from frame to network pixels: ``[2, 3]``; ``None`` to only resize.

    The random numbers do not depend on the configuration, so in two runs that differ in one
    setting, all other changes of a frame are the same.
    """
    flips, scale, turn = rng.random(2), rng.random(), rng.uniform(-1, 1)
    shift = rng.uniform(-1, 1, 2)
    if config == NO_AUGMENT:
        return None
    (sh, sw), (th, tw) = source, target
    low, high = config.scale
    zoom = float(np.exp(np.log(low) + scale * (np.log(high) - np.log(low))))
    angle = np.deg2rad(turn * config.rotate)
    # Rotate at the frame's aspect ratio, then stretch to the network's size.
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
    # The centre maps to the centre; pixel centres have integer coordinates, hence the halves.
    centre_in = np.array(((sw - 1) / 2, (sh - 1) / 2))
    centre_out = np.array(((tw - 1) / 2, (th - 1) / 2)) + shift * config.shift * (tw, th)
    return np.column_stack((matrix, centre_out - matrix @ centre_in))


def photometric(
    image: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Applies tone, colour, blur and noise to ``[h, w, 3]`` uint8; float32 in 0..255.

    Tone and colour only multiply: adding brightness would make the black border of an endoscope's
    view look like a dark shaft.
    """
    draws = _PhotometricDraws.random(rng)
    result: _Pixels = image
    for operation in OPERATIONS:
        result = operation(result, config, draws)
    clipped = np.asarray(result, np.float32)
    np.clip(clipped, 0, 255, out=clipped)
    return clipped


@dataclass(frozen=True)
class _PhotometricDraws:
    """The random numbers of one sample; their order is fixed, so that seeds keep their meaning."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    blur: float
    deviation: float
    noise: float
    noise_seed: int

    @classmethod
    def random(cls, rng: np.random.Generator) -> _PhotometricDraws:
        brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4)
        return cls(
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            blur=rng.random(),
            deviation=rng.uniform(0.5, 1.5),
            noise=rng.random(),
            noise_seed=int(rng.integers(2**63)),
        )


def _tone(image: _Pixels, config: AugmentConfig, draws: _PhotometricDraws) -> _Pixels:
    """Exposure and contrast, by a table of the 256 grey levels; 0 stays 0."""
    light = np.arange(256) / 255 * (1 + draws.brightness * config.brightness)
    light = np.minimum(light, 1.0)
    # This curve is 0 at black, mid-grey and white, and has a slope of 1 at mid-grey.
    bow = 4 * light * (1 - light) * (light - 0.5)
    table = np.asarray(255 * (light + draws.contrast * config.contrast * bow), np.float32)
    return np.asarray(cv2.LUT(image, table), np.float32)


def _colour(image: _Pixels, config: AugmentConfig, draws: _PhotometricDraws) -> _Pixels:
    """Saturation and hue, by one ``[3, 3]`` map of RGB."""
    spread = 1 + draws.saturation * config.saturation
    grey = np.tile(_LUMA, (3, 1))
    saturate = spread * np.eye(3) + (1 - spread) * grey
    # A rotation about the grey axis leaves grey pixels grey (Rodrigues' formula).
    angle = np.deg2rad(draws.hue * config.hue)
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array(((0, -axis[2], axis[1]), (axis[2], 0, -axis[0]), (-axis[1], axis[0], 0)))
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    turn += (1 - np.cos(angle)) * np.outer(axis, axis)
    matrix = (saturate @ turn).astype(np.float32)
    return np.asarray(cv2.transform(image, matrix), np.float32)


def _blur(image: _Pixels, config: AugmentConfig, draws: _PhotometricDraws) -> _Pixels:
    if draws.blur >= config.blur:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), draws.deviation), np.float32)


def _noise(image: _Pixels, config: AugmentConfig, draws: _PhotometricDraws) -> _Pixels:
    """Noise that is the same in all channels: sensors have most noise in brightness."""
    if not config.noise:
        return image
    noise = np.random.Generator(np.random.SFC64(draws.noise_seed)).standard_normal(
        (*image.shape[:2], 1), np.float32
    )
    noise *= np.float32(draws.noise * config.noise)
    result: NDArray[np.float32] = np.add(image, noise, dtype=np.float32)
    return result


_Operation = Callable[[_Pixels, AugmentConfig, _PhotometricDraws], _Pixels]
OPERATIONS: tuple[_Operation, ...] = (_tone, _colour, _blur, _noise)
"""The photometric operations in their order."""
