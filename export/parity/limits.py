"""How far an exported model may be from its reference before it is refused.

Limits.of("fp16")                 # the defaults of a precision
replace(Limits.of("int8"), equal=0.98)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the parity gate; every one of them must hold.

    Attributes:
        equal: Least share of equal label pixels (of equal top classes for classifiers).
        class_agreement: Least intersection over union of each foreground class, exported model
            against reference, over all frames.
        boundary: Least boundary F-score of each foreground class against the reference.
        boundary_pixels: Tolerance of the boundary F-score in pixels of the network's size.
        logit_share: Allowed logit difference as a share of the logits' spread; a pixel whose two
            best logits are closer than twice that is a near-tie.
        max_logit_share: Largest logit difference anywhere, as a share of the spread; 0 for any.
        mean_logit_share: Largest mean logit difference, as a share of the spread: labels may
            survive a scale that is wrong, logits do not.
        far: Largest share of pixels that differ without being near-ties.
        lost: Largest number of connected regions of the reference that lose more than half of
            their pixels.
        truth_drop: Largest loss of mean IoU (accuracy for classifiers) against ground truth.
        embedding: Least cosine between embeddings.
        informative: Least number of frames on which two classes or more are predicted.
    """

    equal: float = 0.999
    class_agreement: float = 0.99
    boundary: float = 0.99
    boundary_pixels: int = 2
    logit_share: float = 0.001
    max_logit_share: float = 0.001
    mean_logit_share: float = 0.0005
    far: float = 0.0
    lost: int = 0
    truth_drop: float = 0.002
    embedding: float = 0.999
    informative: int = 1

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value}, expected 0..1"
            for name, value in asdict(self).items()
            if isinstance(value, float) and not 0 <= value <= 1
        ]
        faults += [
            f"{name} is {getattr(self, name)}, expected {least} or more"
            for name, least in (("boundary_pixels", 0), ("lost", 0), ("informative", 1))
            if getattr(self, name) < least
        ]
        if faults:
            raise ConfigError("; ".join(faults), remedy="mend the named limits")

    @classmethod
    def of(cls, precision: str) -> Limits:
        """The defaults of ``fp32``, ``fp16``, ``bf16`` or ``int8``."""
        return _DEFAULTS[precision]

    def with_flags(self, values: Mapping[str, Any]) -> Limits:
        """A copy with the values that are not ``None``.

        Raises:
            ConfigError: Unknown names or values out of range, all at once.
        """
        given = {name: value for name, value in values.items() if value is not None}
        return from_mapping(Limits, {**asdict(self), **given}, source="limits")


_DEFAULTS = {
    "fp32": Limits(),
    "fp16": replace(
        Limits(),
        logit_share=0.01,
        max_logit_share=0.05,
        mean_logit_share=0.005,
        truth_drop=0.005,
    ),
    "bf16": replace(
        Limits(),
        equal=0.998,
        class_agreement=0.97,
        boundary=0.97,
        logit_share=0.05,
        max_logit_share=0.0,
        mean_logit_share=0.02,
        far=0.0005,
        truth_drop=0.01,
        embedding=0.99,
    ),
    "int8": replace(
        Limits(),
        equal=0.99,
        class_agreement=0.95,
        boundary=0.95,
        logit_share=0.1,
        max_logit_share=0.0,
        mean_logit_share=0.05,
        far=0.002,
        truth_drop=0.02,
        embedding=0.98,
    ),
}
