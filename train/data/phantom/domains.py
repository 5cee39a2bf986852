"""The appearance of the phantom domains: tissue colours, light, instruments and camera.

DOMAINS["robotic"].light
"""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Organ:
    """The appearance of one kind of tissue.

    Attributes:
        colours: Two RGB colours, 0..255, mixed by noise.
        kind: Its shape: ``dome``, ``lobes``, ``tube`` or ``sheet``.
        gloss: Wetness, 0..1.
        vessels: Density of vessels, 0..1.
        near: Brightness factor for its distance to the light.
        weight: Relative frequency.
    """

    colours: tuple[Colour, Colour]
    kind: str
    gloss: float
    vessels: float
    near: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class Metal:
    """A surface of an instrument: base colour 0..255, mirror share, gloss exponent and strength."""

    colour: Colour
    mirror: float
    exponent: float
    strength: float


@dataclass(frozen=True, kw_only=True)
class Domain:
    """All properties of a domain; colours are RGB 0..255.

    Attributes:
        wall: Two colours of the wall behind the organs.
        organs: Organs that can be in front of it.
        vessel: Colour of vessels.
        blood: Colour of blood.
        light: RGB factors of the lamp.
        falloff: Decrease of the light towards the border of the view.
        ambient: Light in folds, 0..1.
        shafts: Surfaces of shafts; each instrument draws one.
        wrist: Surface of the piece behind the jaws.
        jaw: Surface of the jaws.
        insert: Surface of a needle driver's grips.
        insulation: Surface of the sleeve behind a hook.
        wrist_bend: Largest bend of the wrist, radians; 0 for straight instruments.
        radius: Of a shaft, with the tissue one unit away.
        brightness: Mean of the red channel that the exposure control aims for.
        circle: Smallest and largest radius of the round view, relative to the frame's width.
        contrast: 1 is linear.
        sharpen: Strength of the camera's edge enhancement.
        noise: Factor on the sensor's noise.
        smoke: Colour of smoke.
    """

    wall: tuple[Colour, Colour]
    organs: tuple[Organ, ...]
    vessel: Colour
    blood: Colour
    light: Colour
    falloff: float
    ambient: float
    shafts: tuple[Metal, ...]
    wrist: Metal
    jaw: Metal
    insert: Metal
    insulation: Metal
    wrist_bend: float
    radius: float
    brightness: float
    circle: tuple[float, float]
    contrast: float
    sharpen: float
    noise: float
    smoke: Colour


DOMAINS: dict[str, Domain] = {
    # Human gall-bladder surgery: xenon light, dark cavity, yellow fat, black insulated shafts.
    "laparoscopy": Domain(
        wall=((92, 44, 30), (50, 22, 20)),
        organs=(
            Organ(
                colours=((126, 62, 54), (92, 42, 42)),
                kind="dome",
                gloss=0.35,
                vessels=0.12,
                near=0.75,
                weight=1.0,
            ),
            Organ(
                colours=((232, 168, 80), (204, 122, 54)),
                kind="lobes",
                gloss=0.5,
                vessels=0.35,
                near=1.0,
                weight=1.3,
            ),
            Organ(
                colours=((206, 122, 104), (176, 84, 80)),
                kind="tube",
                gloss=0.9,
                vessels=1.0,
                near=1.1,
                weight=1.0,
            ),
            Organ(
                colours=((170, 130, 132), (128, 92, 104)),
                kind="dome",
                gloss=0.8,
                vessels=0.7,
                near=0.9,
                weight=0.7,
            ),
            Organ(
                colours=((188, 116, 84), (150, 78, 62)),
                kind="sheet",
                gloss=0.6,
                vessels=0.8,
                near=0.8,
                weight=0.8,
            ),
        ),
        vessel=(128, 22, 26),
        blood=(112, 8, 10),
        light=(1.06, 0.98, 0.86),
        falloff=1.0,
        ambient=0.10,
        shafts=(
            Metal(colour=(34, 34, 38), mirror=0.10, exponent=16, strength=0.5),
            Metal(colour=(60, 62, 68), mirror=0.16, exponent=24, strength=0.6),
            Metal(colour=(128, 128, 132), mirror=0.45, exponent=40, strength=0.8),
        ),
        wrist=Metal(colour=(150, 148, 146), mirror=0.50, exponent=40, strength=1.0),
        jaw=Metal(colour=(168, 166, 162), mirror=0.45, exponent=30, strength=1.0),
        # Gilded grips of needle drivers, ceramic behind the hook.
        insert=Metal(colour=(168, 138, 76), mirror=0.35, exponent=26, strength=0.7),
        insulation=Metal(colour=(206, 200, 186), mirror=0.12, exponent=20, strength=0.5),
        wrist_bend=0.0,
        radius=0.040,
        brightness=112,
        circle=(0.49, 0.59),
        contrast=1.12,
        sharpen=0.0,
        noise=1.0,
        smoke=(176, 164, 164),
    ),
    # Porcine training model under a robot: cold LED light, pale pink bowel, white fat, wristed
    # pale shafts, a sharpening camera and a wider view.
    "robotic": Domain(
        wall=((116, 88, 94), (66, 54, 60)),
        organs=(
            Organ(
                colours=((226, 170, 168), (206, 138, 142)),
                kind="tube",
                gloss=1.0,
                vessels=1.0,
                near=1.05,
                weight=1.5,
            ),
            Organ(
                colours=((240, 208, 184), (228, 172, 154)),
                kind="lobes",
                gloss=0.7,
                vessels=0.5,
                near=1.0,
                weight=1.0,
            ),
            Organ(
                colours=((146, 66, 66), (118, 48, 54)),
                kind="dome",
                gloss=0.6,
                vessels=0.15,
                near=0.9,
                weight=0.7,
            ),
            Organ(
                colours=((220, 150, 156), (188, 104, 118)),
                kind="sheet",
                gloss=0.9,
                vessels=1.0,
                near=0.95,
                weight=1.0,
            ),
        ),
        vessel=(146, 34, 62),
        blood=(150, 14, 28),
        light=(0.96, 1.0, 1.06),
        falloff=0.55,
        ambient=0.24,
        shafts=(
            Metal(colour=(168, 172, 178), mirror=0.34, exponent=12, strength=0.45),
            Metal(colour=(198, 200, 198), mirror=0.36, exponent=14, strength=0.5),
            Metal(colour=(140, 150, 170), mirror=0.34, exponent=14, strength=0.5),
        ),
        # Dark coated working ends, tungsten grips, brown plastic insulation: laparoscopy's reverse.
        wrist=Metal(colour=(58, 60, 68), mirror=0.40, exponent=20, strength=0.55),
        jaw=Metal(colour=(74, 72, 76), mirror=0.46, exponent=24, strength=0.7),
        insert=Metal(colour=(104, 98, 98), mirror=0.25, exponent=20, strength=0.5),
        insulation=Metal(colour=(158, 112, 74), mirror=0.10, exponent=12, strength=0.4),
        wrist_bend=0.9,
        radius=0.046,
        brightness=122,
        circle=(0.61, 0.69),
        contrast=1.02,
        sharpen=0.55,
        noise=0.7,
        smoke=(206, 210, 218),
    ),
}
