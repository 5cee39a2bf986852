"""What one call of `trocar evaluate` asks for.

request = EvaluationRequest(model=Path("model.trocar"), data=Path("data"), split="test")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trocar.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """Model, data and settings of an evaluation.

    Attributes:
        model: Bundle, run folder or checkpoint.
        data: Labelled data set.
        split: Split to score; ``None``: test, else val, else the frames that were not trained on.
        against: A second model, compared with the first image by image.
        device: ``cpu`` or ``cuda[:n]``.
        video: Whether the set's video or films are scored, with the tracks in them.
        streaming: Frame rate in frames a second of the simulated live run; ``None``: no such run.
        task: Task of a set that has several.
        fold: Fold of the set's protocol, counted from 0.
        tolerance: Of the normalised surface Dice, in pixels of the frame.
        many: Classes with more training photographs than this are many-shot.
        few: Classes with at most this many training photographs are few-shot.
        negative: Films or folders without instruments, for the negative control.
    """

    model: Path
    data: Path
    split: str | None = None
    against: Path | None = None
    device: str = "cpu"
    video: bool = False
    streaming: float | None = None
    task: str | None = None
    fold: int | None = None
    tolerance: float = 2.0
    many: int = 100
    few: int = 20
    negative: tuple[Path, ...] = ()

    def check_classification(self) -> None:
        """Refuses settings that a classifier does not use.

        Raises:
            ConfigError: A setting is for segmentation only, or ``few`` is above ``many``.
        """
        given = {
            "--video": self.video,
            "--streaming": self.streaming is not None,
            "--task": self.task is not None,
            "--fold": self.fold is not None,
            "--negative": bool(self.negative),
        }
        faults = [f"{flag} is for segmentation models" for flag, on in given.items() if on]
        if self.few > self.many:
            faults.append(f"--few is {self.few}, above --many, {self.many}")
        if faults:
            raise ConfigError(
                f"{self.model} is a classifier: " + "; ".join(faults),
                remedy="leave these options out, or change them; see `trocar evaluate --help`",
            )
