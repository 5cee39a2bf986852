"""Options of tracking and of what is reported of it.

options = TrackOptions(max_lost_s=5.0)
"""

from __future__ import annotations

from dataclasses import dataclass

from trocar.contract.config import require


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """When tracks begin and end.

    Attributes:
        max_lost_s: Seconds without a match after which a track ends; above 0.
        min_hits: Matches from which on an instrument gets a track id; 1 or more.
        max_tracked: Instruments of a frame that are tracked, the largest first; 1 or more.
        vote: Whether the class of an instrument is the one that its track was seen as most.
        join: Whether parts of an instrument that came apart are joined.
        camera: Whether movements of the camera are measured and followed.
    """

    max_lost_s: float = 2.0
    min_hits: int = 2
    max_tracked: int = 64
    vote: bool = True
    camera: bool = True
    join: bool = True

    def __post_init__(self) -> None:
        require(
            (self.max_lost_s > 0, f"max_lost_s is {self.max_lost_s}, expected above 0"),
            (self.min_hits >= 1, f"min_hits is {self.min_hits}, expected 1 or more"),
            (self.max_tracked >= 1, f"max_tracked is {self.max_tracked}, expected 1 or more"),
        )


@dataclass(frozen=True, kw_only=True)
class PersistenceOptions:
    """Which regions are shown.

    Attributes:
        floating_s: Seconds that a region which touches nothing is seen before it is shown; 0 shows
            it at once.
        enter_score: Mean score, 0..1, from which on a region is shown; 0 asks for none.
        exit_score: Mean score below which it is hidden again; ``None``: ``hysteresis`` below
            ``enter_score``.
        hysteresis: Distance of the two scores where ``exit_score`` is ``None``.
        relative_score: Fraction of the best score in the frame that is enough too, in the place of
            both scores; never below two thirds of them. 0 for none.
    """

    floating_s: float = 0.4
    enter_score: float = 0.65
    exit_score: float | None = None
    hysteresis: float = 0.15
    relative_score: float = 0.75

    def __post_init__(self) -> None:
        require(
            (
                0 <= self.relative_score <= 1,
                f"relative_score is {self.relative_score}, expected 0 to 1",
            ),
            (self.floating_s >= 0, f"floating_s is {self.floating_s}, expected 0 or more"),
            (
                0 <= self.lowest_score <= self.enter_score <= 1,
                f"exit_score is {self.lowest_score} and enter_score is {self.enter_score}, "
                "expected 0 <= exit_score <= enter_score <= 1",
            ),
        )

    @property
    def lowest_score(self) -> float:
        """Mean score below which a region is hidden again."""
        if self.exit_score is not None:
            return self.exit_score
        return max(0.0, self.enter_score - self.hysteresis)
