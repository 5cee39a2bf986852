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


# What a user gets: every method with its defaults. The baseline has Dice, as all of them.
SUPERVISED = Variant("supervised", "supervised", {})
CE = Variant("supervised without Dice", "supervised", {"w_dice": 0.0})
CONSISTENT = Variant("cross-consistency", "cross-consistency", {})
TEXTURED = Variant("texture-entropy", "texture-entropy", {})
FEW_LABELS = (SUPERVISED, CONSISTENT)
TEXTURE = (SUPERVISED, TEXTURED)
ADAPTED = Variant("mean-teacher", "mean-teacher", {})
# The effect of the style alone: the weight of the consistency is almost 0.
STYLED = Variant("the style alone", "mean-teacher", {"w_consistency": 1e-9})
UNSTYLED = Variant("mean-teacher, no style", "mean-teacher", {"style": "none"})
STRONG = Variant("mean-teacher, strong student's view", "mean-teacher", {"student_view": "strong"})
ADAPTATION = (SUPERVISED, ADAPTED, STYLED)
DEFAULTS = (SUPERVISED, TEXTURED, ADAPTED, CONSISTENT)
ENDOVIS = (*DEFAULTS, UNSTYLED, STRONG, CE)
BATCHES = {"batch_norm": "train", "decoder_norm": "batch"}
STILL = {"batch_norm": "frozen", "decoder_norm": "group"}
"""Nothing depends on the batch: neither the encoder's statistics nor the decoder's."""
NORMS = (
    Variant("supervised, BatchNorm of the batch", "supervised", BATCHES),
    Variant("encoder frozen", "supervised", {**BATCHES, "batch_norm": "frozen"}),
    Variant("GroupNorm in the decoder", "supervised", {**BATCHES, "decoder_norm": "group"}),
    Variant("encoder frozen, GroupNorm", "supervised", STILL),
    Variant("no pooling branch", "supervised", {**BATCHES, "pooling_branch": False}),
    Variant("statistics computed again", "supervised", {**BATCHES, "bn_batches": 10}),
)
STILL_SUPERVISED = Variant("supervised, encoder frozen, GroupNorm", "supervised", STILL)
STILL_OR_BATCHES = (NORMS[0], STILL_SUPERVISED)
STILL_ADAPTED = (
    STILL_SUPERVISED,
    Variant("mean-teacher, encoder frozen, GroupNorm", "mean-teacher", STILL),
    Variant("texture-entropy, encoder frozen, GroupNorm", "texture-entropy", STILL),
)
STILL_FEW = (
    STILL_SUPERVISED,
    Variant("cross-consistency, encoder frozen, GroupNorm", "cross-consistency", STILL),
)
