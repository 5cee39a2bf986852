"""Colours of classes in pictures: bright enough for dark tissue, and the text on them.

colours = class_colours(table)      # one RGB for each class
text = contrasting_colour(colours[1])
"""

from __future__ import annotations

from trocar.contract.classes import ClassTable

Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

_LEAST_BRIGHT = 170
"""Largest channel that a colour needs, 0..255, to be seen on dark tissue."""

_MIXTURES = ((0.0, 1.0), (0.55, 0.45), (0.28, 0.72), (0.8, 0.2))
"""Shares of white and of the colour in each shade."""

SHADES = len(_MIXTURES)
"""Number of shades of a colour."""


def class_colours(table: ClassTable) -> list[Colour]:
    """The colours of a class table in order of id, brightened where they are too dark."""
    return [_bright(row.colour) for row in table]


def shade_of(colour: Colour, number: int) -> Colour:
    """One of `SHADES` shades of a colour, for several instances of one class.

    Args:
        colour: The colour of the class, which is shade 0.
        number: Any number of 0 or more; `SHADES` numbers in a row have different shades.
    """
    white, kept = _MIXTURES[number % SHADES]
    r, g, b = (round(255 * white + kept * v) for v in colour)
    return r, g, b


def contrasting_colour(colour: Colour) -> Colour:
    """Black or white: the one that has the higher contrast (WCAG 2) with a colour."""
    level = luminance(colour)
    return BLACK if (level + 0.05) ** 2 > 1.05 * 0.05 else WHITE


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in _unit(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _unit(colour: Colour) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def _bright(colour: Colour) -> Colour:
    r, g, b = colour
    brightest = max(r, g, b)
    if brightest == 0:
        return (128, 128, 128)
    gain = max(1.0, _LEAST_BRIGHT / brightest)
    return (min(255, round(r * gain)), min(255, round(g * gain)), min(255, round(b * gain)))
