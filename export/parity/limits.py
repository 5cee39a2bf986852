"""How far an exported model may be from its reference before the parity gate refuses it.

Limits.of("fp16")                                          # the defaults of a precision
dataclasses.replace(Limits.of("int8"), min_pixel_agreement=0.98)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError

# Keys of ``limits`` in parity.json that differ from the names of the fields.
_KEYS = {
    "min_pixel_agreement": "equal",
    "min_class_iou": "class_agreement",
    "min_boundary_f1": "boundary",
    "max_mismatch": "far",
    "max_missed_components": "lost",
    "max_miou_drop": "truth_drop",
    "min_cosine": "embedding",
    "min_multiclass_frames": "informative",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the parity gate; every one of them must hold.

    Attributes:
        min_pixel_agreement: Smallest fraction of equal label pixels (of equal top classes for
            classifiers).
        min_class_iou: Smallest IoU of each foreground class, exported model against reference,
            over all frames.
        min_boundary_f1: Smallest boundary F-score of each foreground class against the reference.
        boundary_pixels: Tolerance of the boundary F-score, in pixels at the network's size.
        logit_share: Allowed logit difference, as a fraction of the logit range. A pixel is a
            near-tie when its two best logits are closer than twice that.
        max_logit_share: Largest logit difference of any pixel, as a fraction of the logit range;
            0 for no limit.
        mean_logit_share: Largest mean logit difference, as a fraction of the logit range. It
            finds a wrong scale, which leaves labels as they are.
        max_mismatch: Largest fraction of pixels that differ and are no near-ties.
        max_missed_components: Largest number of connected components of the reference that lose
            more than half of their pixels.
        max_miou_drop: Largest loss of mean IoU (accuracy for classifiers) against ground truth.
        min_cosine: Smallest cosine between embeddings of a classifier.
        min_multiclass_frames: Smallest number of frames with two or more predicted classes, or of
            frames with instances.
        min_instance_iou: Smallest IoU of an instance's mask with the reference's.
        max_score_difference: Largest difference of an instance's score.
        max_missed_instances: Largest number of the reference's instances that are missing.
        max_added_instances: Largest number of instances that the reference does not have.
    """

    min_pixel_agreement: float = 0.999
    min_class_iou: float = 0.99
    min_boundary_f1: float = 0.99
    boundary_pixels: int = 2
    logit_share: float = 0.001
    max_logit_share: float = 0.001
    mean_logit_share: float = 0.0005
    max_mismatch: float = 0.0
    max_missed_components: int = 0
    max_miou_drop: float = 0.002
    min_cosine: float = 0.999
    min_multiclass_frames: int = 1
    min_instance_iou: float = 0.98
    max_score_difference: float = 0.002
    max_missed_instances: int = 0
    max_added_instances: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value}, expected 0..1"
            for name, value in asdict(self).items()
            if isinstance(value, float) and not 0 <= value <= 1
        ]
        faults += [
            f"{name} is {getattr(self, name)}, expected {minimum} or more"
            for name, minimum in (
                ("boundary_pixels", 0),
                ("max_missed_components", 0),
                ("min_multiclass_frames", 1),
                ("max_missed_instances", 0),
                ("max_added_instances", 0),
            )
            if getattr(self, name) < minimum
        ]
        if faults:
            raise ConfigError("; ".join(faults), remedy="correct the named limits")

    @classmethod
    def of(cls, precision: str) -> Limits:
        """The defaults of ``fp32``, ``tf32``, ``fp16``, ``bf16`` or ``int8``."""
        return _DEFAULTS[precision]

    def with_flags(self, values: Mapping[str, object]) -> Limits:
        """A copy with the values that are not ``None``.

        Raises:
            ConfigError: Unknown names or values out of range, all at once.
        """
        given = {name: value for name, value in values.items() if value is not None}
        return from_mapping(Limits, {**asdict(self), **given}, source="limits")

    def to_dict(self) -> dict[str, float]:
        """The limits under their keys in ``parity.json``."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}


# float16 and TF32 round to 11 bits.
_ELEVEN_BITS = replace(
    Limits(),
    logit_share=0.01,
    max_logit_share=0.05,
    mean_logit_share=0.005,
    max_miou_drop=0.005,
    min_instance_iou=0.95,
    max_score_difference=0.02,
)
_DEFAULTS = {
    "fp32": Limits(),
    "tf32": _ELEVEN_BITS,
    "fp16": _ELEVEN_BITS,
    "bf16": replace(
        Limits(),
        min_pixel_agreement=0.998,
        min_class_iou=0.97,
        min_boundary_f1=0.97,
        logit_share=0.05,
        max_logit_share=0.0,
        mean_logit_share=0.02,
        max_mismatch=0.0005,
        max_miou_drop=0.01,
        min_cosine=0.99,
        min_instance_iou=0.9,
        max_score_difference=0.05,
    ),
    "int8": replace(
        Limits(),
        min_pixel_agreement=0.99,
        min_class_iou=0.95,
        min_boundary_f1=0.95,
        logit_share=0.1,
        max_logit_share=0.0,
        mean_logit_share=0.05,
        max_mismatch=0.002,
        max_miou_drop=0.02,
        min_cosine=0.98,
        min_instance_iou=0.85,
        max_score_difference=0.1,
    ),
}
