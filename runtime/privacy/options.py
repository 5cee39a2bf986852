"""Which model tells that the camera is outside the body, and what happens to such pictures.

options = PrivacyOptions(model=Path("body.trocar"), mode="blur")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trocar.contract.config import require
from trocar.contract.errors import ConfigError

MODES = ("off", "blur", "black")
"""What happens to pictures from outside the body: nothing, blurred, or blacked."""


@dataclass(frozen=True, kw_only=True)
class PrivacyOptions:
    """Out-of-body recognition and what follows from it.

    Attributes:
        model: Classifier bundle with a class ``inside``; ``None`` uses the share of red pixels in
            live runs, which covers nothing.
        mode: One of `MODES`.
        certainty: Least certainty of ``inside``, 0..1; a frame below it counts as outside.
        limit_ms: Milliseconds after which a frame of a live run that was not judged counts as
            outside, above 0.

    Raises:
        ConfigError: A value is out of range, or pictures shall be covered without a model.
    """

    model: Path | None = None
    mode: str = "off"
    certainty: float = 0.9
    limit_ms: float = 100.0

    def __post_init__(self) -> None:
        require(
            (self.mode in MODES, f"privacy is {self.mode!r}, expected one of {', '.join(MODES)}"),
            (0 <= self.certainty <= 1, f"certainty is {self.certainty}, expected 0 to 1"),
            (self.limit_ms > 0, f"limit_ms is {self.limit_ms}, expected above 0"),
        )
        if self.mode != "off" and self.model is None:
            raise ConfigError(
                f"--privacy {self.mode} needs a model that tells inside from outside: the share of "
                "red pixels takes faces for tissue",
                remedy="pass --out-of-body MODEL, a classifier that was trained on two folders, "
                "inside and outside",
            )
