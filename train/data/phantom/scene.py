"""Sequences of phantom scenes.

for frame in phantom_frames(PhantomConfig(frames=50)): frame.image, frame.types
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.camera import Camera, streak
from trocar.train.data.phantom.config import (
    INSTRUMENT_TYPES,
    PHANTOM_DOMAINS,
    PhantomConfig,
    PhantomFrame,
    Tip,
)
from trocar.train.data.phantom.domains import DOMAINS, Domain
from trocar.train.data.phantom.instrument_renderer import Layer, render_instrument
from trocar.train.data.phantom.instrument_shapes import INSTRUMENT_SHAPES
from trocar.train.data.phantom.motion import Drift
from trocar.train.data.phantom.noise import Field, smooth_noise
from trocar.train.data.phantom.pose import Rig
from trocar.train.data.phantom.surface import Environment, stain_tile
from trocar.train.data.phantom.tissue import make_tissue

MARGIN = 1.25
"""Tissue is painted this much wider than the view, so that the camera can move."""

SHUTTER = 1 / 50
"""Exposure time in seconds."""

VIDEO_CLIP = 1_000_000
"""Clip number, and so scene, of held-out videos: no data set reaches it."""


CROSSING = 1.3
"""How far tips are beyond the middle of the view, seen from their port, where instruments cross."""


def phantom_frames(config: PhantomConfig, *, first_clip: int = 0) -> Iterator[PhantomFrame]:
    """Yields the frames of a configuration; equal configurations give equal frames, bit for bit.

    Args:
        config: The configuration.
        first_clip: Number of the first scene; different numbers give different scenes.
    """
    for index in range(config.frames):
        clip, step = divmod(index, config.clip_length)
        if step == 0:
            scene = Scene.random(config, first_clip + clip)
        yield scene.frame(clip, step / config.fps)


@dataclass
class Scene:
    """One operating field with its instruments and camera."""

    config: PhantomConfig
    domain: Domain
    canvas: NDArray[np.uint8]
    rigs: list[Rig]
    camera: Camera
    inside: NDArray[np.uint8]
    stains: Field
    blood: float
    moves: dict[str, Drift]
    sway: Field

    @classmethod
    def random(cls, config: PhantomConfig, clip: int) -> Scene:
        """The scene of a clip; it depends only on the seed, the domain and the clip's number."""
        domain_id = PHANTOM_DOMAINS.index(config.domain)
        streams = np.random.SeedSequence([config.seed, clip, domain_id]).spawn(4)
        plan, field, lens, dirt = (np.random.default_rng(s) for s in streams)
        domain, hard = DOMAINS[config.domain], config.difficulty
        height, width = config.size
        wide = (int(height * MARGIN) // 2 * 2, int(width * MARGIN) // 2 * 2)
        shake = 0.4 + 0.8 * hard
        moves = {
            "x": Drift.random(plan, size=0.05 * width * shake, speed=0.06 * width * shake),
            "y": Drift.random(plan, size=0.04 * width * shake, speed=0.05 * width * shake),
            "angle": Drift.random(plan, size=0.05 * shake, speed=0.06),
            "zoom": Drift.random(plan, middle=1.0, size=0.05 * shake, speed=0.04),
            "breath": Drift(0.0, ((0.010 * width, 2 * math.pi * 0.28, float(plan.random() * 6)),)),
        }
        camera = Camera.random(lens, domain, config.size, difficulty=hard)
        return cls(
            config=config,
            domain=domain,
            canvas=make_tissue(field, domain, wide, difficulty=hard),
            rigs=_rigs(plan, config, domain),
            camera=camera,
            inside=(camera.window >= 0.5).astype(np.uint8),
            stains=stain_tile(dirt),
            blood=hard * float(dirt.uniform(0.2, 0.95)),
            moves=moves,
            sway=np.dstack(
                [smooth_noise(plan, (height // 16 + 2, width // 16 + 2), cells=2) for _ in "xy"]
            ),
        )

    def frame(self, clip: int, time: float) -> PhantomFrame:
        """Renders the frame at a time in seconds."""
        height, width = self.config.size
        tissue = self._tissue(time)
        light = self.camera.light(time)
        environment = self._environment(tissue, light)
        layers: list[tuple[int, Layer, tuple[float, float]]] = []
        for number, rig in enumerate(self.rigs, start=1):
            layer = render_instrument(rig, rig.at(time), self.domain, environment, self.config.size)
            if layer is not None:
                layers.append((number, layer, self._speed(rig, time)))
        light = self._shadowed(light, layers)
        lit = cv2.resize(cv2.merge([light * c for c in self.domain.light]), (width, height))
        frame = np.asarray(cv2.multiply(tissue, lit, dtype=cv2.CV_8U), np.uint8)
        types = np.zeros((height, width), np.uint8)
        parts, instances = np.zeros_like(types), np.zeros_like(types)
        for number, layer, shift in layers:
            left, top, right, bottom = layer.box
            here = (slice(top, bottom), slice(left, right))
            solid = layer.parts > 0
            types[here][solid] = INSTRUMENT_TYPES.index(self.rigs[number - 1].kind) + 1
            parts[here][solid] = layer.parts[solid]
            instances[here][solid] = number
            _compose(frame, layer, shift)
        for truth in (types, parts, instances):
            truth *= self.inside
        shift = (self.moves["x"].rate(time) * SHUTTER, self.moves["y"].rate(time) * SHUTTER)
        image = self.camera.develop(frame, time, shift)
        tips = tuple(self._tip(number, layer, instances) for number, layer, _ in layers)
        seen = tuple(tip for tip in tips if (instances == tip.instance).any())
        return PhantomFrame(image, types, parts, instances, seen, clip, time)

    def _environment(self, tissue: NDArray[np.uint8], light: Field) -> Environment:
        """What the instruments reflect: the lit field on a coarse grid."""
        height, width = self.config.size
        grid = (width // 16, height // 16)
        lamp = np.asarray(cv2.resize(light, grid, interpolation=cv2.INTER_AREA), np.float32)
        mirror = cv2.resize(tissue, grid, interpolation=cv2.INTER_AREA).astype(np.float32)
        mirror = cv2.GaussianBlur(mirror, (0, 0), 1.2) * lamp[..., None]
        return Environment(
            mirror=np.ascontiguousarray(mirror.reshape(-1, 3).T),
            lamp=lamp.reshape(-1),
            grid=(grid[1], grid[0]),
            stains=self.stains,
            blood=self.blood,
            light=self.domain.light,
        )

    def _tissue(self, time: float) -> NDArray[np.uint8]:
        """The field as seen by the moving camera, deformed by breathing."""
        height, width = self.config.size
        rows, columns = self.sway.shape[:2]
        move = {name: drift(time) for name, drift in self.moves.items()}
        x = np.linspace(-0.5, 0.5, columns, dtype=np.float32)[None] * (columns * 16)
        y = np.linspace(-0.5, 0.5, rows, dtype=np.float32)[:, None] * (rows * 16)
        c = np.float32(math.cos(move["angle"]) * move["zoom"])
        s = np.float32(math.sin(move["angle"]) * move["zoom"])
        sway = self.sway * np.float32(move["breath"])
        map_x = c * x - s * y + np.float32(move["x"] + self.canvas.shape[1] / 2) + sway[..., 0]
        map_y = s * x + c * y + np.float32(move["y"] + self.canvas.shape[0] / 2) + sway[..., 1]
        grid = cv2.resize(np.dstack([map_x, map_y]), (width, height))
        # A map of two channels needs no second one, but the stub takes no None.
        seen = cv2.remap(  # type: ignore[call-overload]
            self.canvas, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(seen, np.uint8)

    def _speed(self, rig: Rig, time: float) -> tuple[float, float]:
        """How far a tip moves in the image during the exposure, pixels."""
        scale = 0.92 * self.config.size[1] / max(rig.z(time), 0.2) * SHUTTER
        scale *= 0.5 + 2.0 * self.config.difficulty
        return rig.x.rate(time) * scale, rig.y.rate(time) * scale

    def _shadowed(
        self, light: Field, layers: list[tuple[int, Layer, tuple[float, float]]]
    ) -> Field:
        """The light with the shadows that the instruments cast on the tissue."""
        height, width = self.config.size
        shade = np.zeros((height // 4, width // 4), np.uint8)
        for _, layer, _ in layers:
            for outline in layer.outlines:
                # The lamp is above the lens, so shadows fall below, farther for what is higher.
                moved = outline * 0.985 + np.array([-0.012, 0.032]) * width
                cv2.fillPoly(shade, [np.round(moved * 4).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(shade, (0, 0), width / 140).astype(np.float32)
        base = cv2.resize(light, (width // 4, height // 4), interpolation=cv2.INTER_LINEAR)
        result: Field = base * (1 - np.float32(0.62 / 255) * soft)
        return result

    def _tip(self, number: int, layer: Layer, instances: NDArray[np.uint8]) -> Tip:
        height, width = instances.shape
        seen = False
        for x, y in np.round(layer.tips).astype(int).tolist():
            near = instances[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            inside = 0 <= x < width and 0 <= y < height
            seen |= bool(inside and (near == number).any())
        points = tuple((round(float(x), 2), round(float(y), 2)) for x, y in layer.tips)
        kind = self.rigs[number - 1].kind
        return Tip(number, INSTRUMENT_TYPES.index(kind) + 1, points, seen)


def _rigs(rng: np.random.Generator, config: PhantomConfig, domain: Domain) -> list[Rig]:
    count = int(rng.integers(config.instruments[0], config.instruments[-1] + 1))
    kinds = rng.choice(len(INSTRUMENT_TYPES), size=count, replace=False)
    if config.crossing:
        kinds[:] = kinds[0]
    # Ports are spread around the view, rarely at its top.
    start, gap = rng.uniform(-0.5, 1.2), 2.3 + rng.uniform(-0.4, 0.4)
    rigs = []
    for place, kind in enumerate(kinds):
        name = INSTRUMENT_TYPES[int(kind)]
        instrument = INSTRUMENT_SHAPES[name]
        wrist = instrument.wrist[-1][0]
        jaw = float(max(part.outline[:, 0].max() for part in instrument.jaws))
        angle = float(start + place * gap)
        rigs.append(
            Rig.random(
                rng,
                kind=name,
                domain=domain,
                lengths=(instrument.slender, wrist, jaw),
                angle=angle,
                side=-CROSSING if config.crossing else 1.0,
            )
        )
    # Nearer instruments are rendered later.
    return sorted(rigs, key=lambda rig: -rig.z.middle)


def _compose(frame: NDArray[np.uint8], layer: Layer, shift: tuple[float, float]) -> None:
    """Blends an instrument into the frame, with its motion blur."""
    left, top, right, bottom = layer.box
    planes = [plane.reshape(bottom - top, right - left) for plane in layer.planes]
    kernel = streak(shift)
    if kernel is not None:
        planes = [cv2.filter2D(p, -1, kernel, borderType=cv2.BORDER_REPLICATE) for p in planes]
    clear = 1 - planes[3]
    part = frame[top:bottom, left:right]
    background = cv2.multiply(part, cv2.merge([clear, clear, clear]), dtype=cv2.CV_32F)
    part[:] = cv2.add(background, cv2.merge(planes[:3]), dtype=cv2.CV_8U)
