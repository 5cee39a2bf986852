"""Pose of an instrument: a rod through its port, with wrist and jaws, and a pinhole camera.

rig = Rig.random(rng, kind="grasper", domain=domain, lengths=(1.0, 3.4, 5.9), angle=1.0)

Space: the lens is at the origin and looks along +z; the tissue is about one unit away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.train.data.phantom.domains import Domain, Metal
from trocar.train.data.phantom.motion import Drift, JawMotion

Vector = NDArray[np.float64]

FOCAL = 0.92
"""Focal length in frame widths."""


@dataclass(frozen=True)
class Pose:
    """One instrument at one time.

    Attributes:
        port: Where the rod comes in, outside the view.
        joint: End of the shaft.
        hinge: Where the jaws are hinged.
        along: Unit vector of the jaws' axis.
        side: Unit vector in the jaws' opening plane, across the axis.
        opening: 0 (closed) to 1 (open).
        roll: Rotation about the shaft, radians.
    """

    port: Vector
    joint: Vector
    hinge: Vector
    along: Vector
    side: Vector
    opening: float
    roll: float


@dataclass(frozen=True)
class Rig:
    """One instrument of a scene: its shape and its motion."""

    kind: str
    radius: float
    wrist_length: float
    reach: float
    port: tuple[float, float, float]
    x: Drift
    y: Drift
    z: Drift
    roll: Drift
    bend: Drift
    turn: Drift
    jaw_motion: JawMotion
    shaft: Metal
    texture: int
    ring: float

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        *,
        kind: str,
        domain: Domain,
        lengths: tuple[float, float, float],
        angle: float,
        side: float = 1.0,
    ) -> Rig:
        """A random instrument.

        Args:
            rng: Source of randomness.
            kind: Instrument type.
            domain: Domain.
            lengths: Slenderness, wrist and jaw length in radii.
            angle: Direction of its port from the centre of the view, radians, y down.
            side: Where its tip is on average: 1 on the side of the port, -1 on the other one.
        """
        slender, wrist, jaw = lengths
        radius = domain.radius * slender * float(rng.uniform(0.85, 1.15))
        far = float(rng.uniform(1.0, 1.5))
        port = (far * math.cos(angle), 0.9 * far * math.sin(angle), float(rng.uniform(0.15, 0.55)))
        # The mean position of the tip is shifted towards the port, so that instruments do not
        # cross all the time.
        x = side * 0.12 * math.cos(angle) + float(rng.uniform(-0.16, 0.16))
        y = side * 0.09 * math.sin(angle) + float(rng.uniform(-0.12, 0.12))
        bend = domain.wrist_bend
        return cls(
            kind=kind,
            radius=radius,
            wrist_length=wrist * radius,
            reach=jaw * radius,
            port=port,
            x=Drift.random(rng, middle=x, size=0.13, speed=0.22),
            y=Drift.random(rng, middle=y, size=0.11, speed=0.20),
            z=Drift.random(rng, middle=float(rng.uniform(0.72, 0.9)), size=0.08, speed=0.12),
            roll=Drift.random(rng, middle=float(rng.normal(0, 0.7)), size=0.8, speed=1.2),
            bend=Drift.random(rng, middle=float(rng.uniform(-0.4, 0.4)) * bend, size=bend, speed=1),
            turn=Drift.random(rng, middle=float(rng.uniform(0, 6.28)), size=0.8 * bend, speed=1.0),
            jaw_motion=JawMotion.random(rng),
            shaft=domain.shafts[int(rng.integers(len(domain.shafts)))],
            texture=int(rng.integers(1 << 20)),
            ring=float(rng.uniform(3, 14)) if rng.random() < 0.5 else -1.0,
        )

    def at(self, time: float) -> Pose:
        """The pose at a time in seconds."""
        port = np.array(self.port)
        tip = np.array([self.x(time), self.y(time), self.z(time)])
        axis = _unit(tip - port)
        up = _unit(np.cross(axis, np.array([0.0, 0.0, 1.0])))
        over = np.cross(axis, up)
        turn, bend, roll = self.turn(time), self.bend(time), self.roll(time)
        lean = math.cos(turn) * up + math.sin(turn) * over
        along = _unit(math.cos(bend) * axis + math.sin(bend) * lean)
        joint = tip - axis * self.wrist_length - along * self.reach
        hinge = joint + _unit(axis + along) * self.wrist_length
        across = _unit(up - along * float(up @ along))
        third = np.cross(along, across)
        side = math.cos(roll) * across + math.sin(roll) * third
        return Pose(port, joint, hinge, along, side, self.jaw_motion(time), roll)


def project(points: Vector, size: tuple[int, int]) -> Vector:
    """``[n, 3]`` points in space to ``[n, 2]`` pixels, with a smallest distance to the lens."""
    height, width = size
    z = np.maximum(points[:, 2:3], 0.05)
    scale = FOCAL * width
    result: Vector = points[:, :2] / z * scale + np.array([(width - 1) / 2, (height - 1) / 2])
    return result


def _unit(v: Vector) -> Vector:
    result: Vector = v / max(float(np.sqrt((v * v).sum())), 1e-9)
    return result
