"""Which tracked regions are instruments: those that last, and that the model is sure of.

    standing = Standing(); standing.see(0.04, score=0.9, best=0.9, is_anchored=True, options=None)

An instrument enters the view from outside. So a region that touches neither the border, nor the
rim of the field of view, nor another instrument, is shown only after it was seen for some time. A
region is shown from a mean score on, and stays until its mean falls below a lower one. Where only
the comparison with a better region of the frame lets a region in, it has to last as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trocar.runtime.locate.rules.selection import score_limit
from trocar.runtime.temporal.options import PersistenceOptions

SCORE_TIME_S = 0.3
"""Time constant of the mean score."""


@dataclass
class Standing:
    """What a track has earned so far.

    Attributes:
        score: Mean score, 0..1, of about the last 0.3 s.
        seen_s: Seconds that it was seen; time out of sight is subtracted.
        is_shown: Whether it is an instrument in results.
    """

    score: float = math.nan
    seen_s: float = 0.0
    is_shown: bool = False

    def miss(self, dt: float) -> None:
        """Notes that it was not found for ``dt`` seconds."""
        self.seen_s = max(0.0, self.seen_s - dt)

    def see(
        self,
        dt: float,
        *,
        score: float,
        best: float,
        is_anchored: bool,
        options: PersistenceOptions | None,
    ) -> None:
        """Notes that it was found, and decides whether it is shown.

        Args:
            dt: Seconds since the frame before.
            score: Its score in this frame, 0..1.
            best: The best score in this frame, of any instrument.
            is_anchored: Whether it touches the border, the rim or another instrument.
            options: ``None`` shows everything.
        """
        weight = 1.0 if math.isnan(self.score) else 1 - math.exp(-dt / SCORE_TIME_S)
        self.score = score if weight == 1.0 else self.score + weight * (score - self.score)
        self.seen_s += dt
        if options is None:
            self.is_shown = True
        elif self.is_shown:
            limit = score_limit(options.lowest_score, relative=options.relative_score, best=best)
            self.is_shown = self.score >= limit
        else:
            is_sure = self.score >= options.enter_score or score >= best
            lasted = (is_anchored and is_sure) or self.seen_s >= options.floating_s
            limit = score_limit(options.enter_score, relative=options.relative_score, best=best)
            self.is_shown = lasted and self.score >= limit
