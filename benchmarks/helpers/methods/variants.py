"""The variants that benchmarks/methods.py compares: methods with their settings, and networks.

CE.settings  # {"w_dice": 0.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Small enough for one CPU core, and fast to train from random weights.
SMALL: dict[str, Any] = {
    "size": (64, 80),
    "encoder": "tu-test_efficientnet",
    "decoder_channels": 32,
}
# With --weights: the network that users train, as large as one CPU core allows.
PRETRAINED: dict[str, Any] = {
    "size": (96, 128),
    "encoder": "tu-efficientnet_lite0",
    "decoder_channels": 64,
}
BATCH = 4
CLIPS = 120
"""Phantom clips of a domain; 0.7 of them are training clips."""
START_STEPS = 1000
"""Training steps of the encoder that the variants start from."""


@dataclass(frozen=True)
class Variant:
    """One method with its settings.

    Attributes:
        name: Row of the table.
        method: Name of the method.
        settings: Settings of the method that are not defaults.
    """

    name: str
    method: str
    settings: Mapping[str, Any]


CE = Variant("supervised (CE)", "supervised", {"w_dice": 0.0})
# The weight multiplies a mean over four classes. Of 6 and 15, this one was better on validation
# frames of another random draw.
CONSISTENT = Variant("cross-consistency", "cross-consistency", {"w_consistency": 15.0})
TEXTURED_LATE = Variant(
    "texture-entropy, weight 0.02 in the second half",
    "texture-entropy",
    {"w_texture": 0.02, "texture_from": 0.5},
)
FEW_LABELS = (CE, CONSISTENT)
TEXTURE = (CE, TEXTURED_LATE)
SOURCE_ONLY = Variant("source only (CE + Dice)", "supervised", {})
ADAPTED = Variant("mean-teacher", "mean-teacher", {})
# The effect of the style alone: the weight of the consistency is almost 0.
STYLED = Variant("the style alone", "mean-teacher", {"w_consistency": 1e-9})
# The better one on the halves without labels, with other seeds than those of the table.
UNSTYLED = Variant("mean-teacher, no style", "mean-teacher", {"style": "none"})
ADAPTATION = (SOURCE_ONLY, ADAPTED, STYLED)
ENDOVIS = (
    SOURCE_ONLY,
    ADAPTED,
    UNSTYLED,
    CE,
    # For two classes, this weight is as strong as 15 is for four.
    Variant("cross-consistency", "cross-consistency", {"w_consistency": 7.5}),
    TEXTURED_LATE,
)
