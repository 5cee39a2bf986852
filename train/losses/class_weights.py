"""Class weights of a run: `balanced` becomes numbers, which the run records.

note = set_class_weights(method, frames)     # "class weights: background 0.4, grasper 3.1"
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trocar.train.data.loader.class_presence import balanced_weights, class_presence
from trocar.train.data.sample import FrameSet
from trocar.train.losses.by_name import BALANCED, check_class_weights, parse_class_weights
from trocar.train.methods.protocol import Method


def set_class_weights(method: Method, frames: FrameSet) -> str:
    """Puts numbers into the method's settings where they say ``balanced``, and checks them.

    A resumed run has the numbers in its settings, so that it goes on with the same ones.

    Returns:
        The weights by class for people; empty where the run has none.

    Raises:
        ConfigError: There are more or fewer numbers than classes.
        DataError: A frame or its mask cannot be read.
    """
    config: Any = method.config
    text = getattr(config, "class_weights", "none")
    if text == "none":
        return ""
    if text == BALANCED:
        numbers = balanced_weights(class_presence(frames))
        text = ",".join(f"{number:g}" for number in numbers)
        method.config = replace(config, class_weights=text)
    check_class_weights(text, classes=len(frames.table))
    values = parse_class_weights(text) or ()
    names = zip(frames.table.names, values, strict=True)
    return "class weights: " + ", ".join(f"{name} {value:g}" for name, value in names)
