"""Effects of light, smoke, lens and sensor on a frame; none of them moves the ground truth.

camera = Camera.random(rng, domain, (512, 640), difficulty=0.5)
image = camera.develop(frame, time, shift=(3.0, 0.0))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.domains import Domain
from trocar.train.data.phantom.motion import Drift
from trocar.train.data.phantom.noise import Field, blur, smooth_noise, smoothstep

NOISE_TILE = 320
"""Side of the square of noise that is laid out side by side; each frame starts elsewhere."""


@dataclass
class Camera:
    """Lens, light and sensor of one scene.

    Attributes:
        window: ``[H, W]`` float32, 1 inside the round view, 0 outside.
        shroud: ``[H, W, 3]`` uint8, the window with the vignetting of the lens.
        opening: ``[H, W, 3]`` uint8, the window with a hard edge, as a bit mask.
        grain: Noise of the sensor to add and to subtract; larger than the frame, which uses
            another part each time.
        plume: ``[H/4, W/4]`` float32, smoke 0..1.
    """

    domain: Domain
    size: tuple[int, int]
    difficulty: float
    window: Field
    shroud: NDArray[np.uint8]
    opening: NDArray[np.uint8]
    grain: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    plume: Field
    smoke: Drift
    drift_x: float
    drift_y: float
    exposure: Drift
    warmth: Drift
    focus: Drift
    light_x: Drift
    light_y: Drift
    rng: np.random.Generator

    @classmethod
    def random(
        cls, rng: np.random.Generator, domain: Domain, size: tuple[int, int], *, difficulty: float
    ) -> Camera:
        """A random camera for a scene."""
        height, width = size
        window = _window(rng, domain, size)
        shroud = window * (0.45 + 0.55 * cv2.GaussianBlur(window, (0, 0), width / 40))
        grain = _grain(rng)
        amount = domain.noise * (0.8 + 4.2 * difficulty * float(rng.uniform(0.4, 1.0)))
        grain *= np.float32(amount)
        plume = smooth_noise(rng, (height // 4, width // 4), cells=3, octaves=4, gain=0.55)
        smoky = float(rng.random() < 0.12 + 0.36 * difficulty)
        thick = smoky * difficulty * float(rng.uniform(0.2, 0.75))
        return cls(
            domain=domain,
            size=size,
            difficulty=difficulty,
            window=window,
            shroud=_grey(np.round(255 * shroud).astype(np.uint8)),
            opening=_grey(np.where(window > 0.5, 255, 0).astype(np.uint8)),
            grain=(_laid_out(np.maximum(grain, 0), size), _laid_out(np.maximum(-grain, 0), size)),
            plume=(plume * 0.5 + 0.5).astype(np.float32),
            smoke=Drift.random(rng, middle=thick, size=0.7 * thick + 1e-3, speed=0.5),
            drift_x=float(rng.uniform(-15, 15)),
            drift_y=float(rng.uniform(-20, -3)),
            exposure=Drift.random(
                rng,
                middle=float(rng.normal(0, 0.10 * difficulty)),
                size=0.05 + 0.22 * difficulty,
                speed=0.3,
            ),
            warmth=Drift.random(
                rng,
                middle=float(rng.normal(0, 0.03 * difficulty)),
                size=0.05 * difficulty + 1e-3,
                speed=0.1,
            ),
            focus=Drift.random(
                rng, middle=-0.9 + 1.3 * difficulty * float(rng.random()), size=0.9, speed=1.5
            ),
            light_x=Drift.random(rng, middle=float(rng.uniform(-0.08, 0.08)), size=0.06, speed=0.1),
            light_y=Drift.random(rng, middle=float(rng.uniform(-0.10, 0.04)), size=0.06, speed=0.1),
            rng=rng,
        )

    def light(self, time: float) -> Field:
        """Illumination ``[h/8, w/8]`` float32: a broad spot that decreases outwards."""
        rows, columns = -(-self.size[0] // 8), -(-self.size[1] // 8)
        x = np.arange(columns, dtype=np.float32)[None] / columns - 0.5
        y = (np.arange(rows, dtype=np.float32)[:, None] - rows / 2) / columns
        dx, dy = x - np.float32(self.light_x(time)), y - np.float32(self.light_y(time))
        distance = dx * dx + dy * dy
        result: Field = 1.3 / (1 + np.float32(5.5 * self.domain.falloff) * distance)
        return result

    def develop(
        self, frame: NDArray[np.uint8], time: float, shift: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """Turns the lit scene into an image.

        Args:
            frame: ``[H, W, 3]`` uint8 RGB.
            time: Seconds.
            shift: How far the image moves during the exposure, pixels.
        """
        height, width = self.size
        picture: cv2.typing.MatLike = self._scattered(frame, time)
        smear = streak(shift)
        if smear is not None:
            picture = cv2.filter2D(picture, -1, smear, borderType=cv2.BORDER_REPLICATE)
        sigma = max(self.focus(time), 0.0) * width / 640 * (0.3 + 2.2 * self.difficulty)
        if sigma > 0.35:
            picture = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        elif self.domain.sharpen:
            soft = cv2.GaussianBlur(picture, (0, 0), 1.3, borderType=cv2.BORDER_REPLICATE)
            picture = cv2.addWeighted(
                picture, 1 + self.domain.sharpen, soft, -self.domain.sharpen, 0
            )
        x, y = (int(self.rng.integers(NOISE_TILE)) for _ in range(2))
        more, less = (grain[y : y + height, x : x + width] for grain in self.grain)
        picture = cv2.subtract(cv2.add(picture, more), less)
        return np.asarray(cv2.LUT(picture, self._curve(time)), np.uint8)

    def _scattered(self, frame: NDArray[np.uint8], time: float) -> NDArray[np.uint8]:
        """The round view, with scattered light around overexposed areas, and smoke.

        Both are smooth, so they are computed at a quarter of the size.
        """
        height, width = self.size
        small = cv2.resize(frame, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        # OpenCV reads four float64 numbers as one value per channel.
        bright = cv2.subtract(small, np.full(4, 205.0)).astype(np.float32)
        veil = 2.2 * blur(bright, width / 160) + 2.0 * blur(bright, width / 60)
        veil *= np.float32(0.2 + 0.5 * self.difficulty)
        amount = self.smoke(time)
        picture = cv2.multiply(frame, self.shroud, scale=1 / 255)
        if amount > 0.02:
            rows, columns = self.plume.shape
            move = np.array([[1, 0, self.drift_x * time], [0, 1, self.drift_y * time]], np.float32)
            plume = cv2.warpAffine(
                self.plume, move, (columns, rows), borderMode=cv2.BORDER_REFLECT_101
            )
            thick = np.clip(np.float32(amount) * (0.35 + 1.1 * plume), 0, 0.85)
            clear = 1 - cv2.merge([thick, thick, thick])
            veil = veil * clear + (1 - clear) * np.array(self.domain.smoke, np.float32)
            clear = cv2.resize((clear * 255).astype(np.uint8), (width, height))
            picture = cv2.multiply(picture, clear, scale=1 / 255)
        veil = cv2.resize(np.clip(veil, 0, 255).astype(np.uint8), (width, height))
        # Outside the round view no light is scattered.
        veil = cv2.bitwise_and(veil, self.opening)
        return np.asarray(cv2.add(picture, veil), np.uint8)

    def _curve(self, time: float) -> NDArray[np.uint8]:
        """Exposure, white balance and contrast as one table ``[1, 256, 3]``."""
        x = np.arange(256, dtype=np.float64)[:, None] / 255
        warm = self.warmth(time)
        gain = np.exp(self.exposure(time)) * np.array([1 + warm, 1.0, 1 - warm])
        y = np.clip(x * gain, 0, 1)
        bent = y + (self.domain.contrast - 1) * (y - 0.5) * 4 * y * (1 - y) * 1.5
        curve: NDArray[np.uint8] = np.round(np.clip(bent, 0, 1) * 255).astype(np.uint8)[None]
        return curve


def _grain(rng: np.random.Generator) -> Field:
    """Noise at one and two pixels, as after demosaicking; partly equal in all channels."""
    raw = rng.standard_normal((NOISE_TILE, NOISE_TILE, 3), dtype=np.float32)
    soft = cv2.GaussianBlur(raw, (0, 0), 0.8, borderType=cv2.BORDER_REFLECT)
    grain = 0.55 * raw + 0.9 * soft
    result: Field = 0.7 * grain.mean(2, keepdims=True) + 0.5 * grain
    return result


def _laid_out(tile: Field, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The tile repeated over an area one tile larger than the frame."""
    rounded = np.round(np.minimum(tile, 255)).astype(np.uint8)
    result = cv2.copyMakeBorder(rounded, 0, size[0], 0, size[1], cv2.BORDER_WRAP)
    return np.asarray(result, np.uint8)


def _grey(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The plane ``[H, W]`` as three equal channels."""
    return np.asarray(cv2.merge([plane] * 3), np.uint8)


def _window(rng: np.random.Generator, domain: Domain, size: tuple[int, int]) -> Field:
    """The round image of the endoscope, with a soft edge."""
    height, width = size
    radius = float(rng.uniform(*domain.circle)) * width
    x = np.arange(width, dtype=np.float32)[None] - np.float32(
        width * (0.5 + rng.uniform(-0.025, 0.025))
    )
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(
        height * (0.5 + rng.uniform(-0.03, 0.03))
    )
    distance = np.sqrt(x * x + y * y)
    soft = width / 130
    return 1 - smoothstep(distance, radius - soft, radius + soft)


def streak(shift: tuple[float, float]) -> Field | None:
    """Kernel of a straight, symmetric motion blur; ``None`` if it would not be visible."""
    length = math.hypot(*shift)
    if length < 1.2:
        return None
    length = min(length, 25.0)
    reach = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    angle = math.atan2(shift[1], shift[0])
    dx, dy = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    ends = np.round(np.array([[reach - dx, reach - dy], [reach + dx, reach + dy]]) * 256)
    (x0, y0), (x1, y1) = ends.astype(int).tolist()
    cv2.line(kernel, (x0, y0), (x1, y1), 1.0, 1, cv2.LINE_8, 8)
    # Symmetric, so that the blur moves nothing to one side.
    kernel = kernel + kernel[::-1, ::-1]
    result: Field = kernel / np.float32(kernel.sum())
    return result
