"""The head set of a long-tailed set: the classes with the most photographs.

head = head_set(counts, rule="share", share=0.3, ties="out"); print(head.ids, head.note)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ConfigError


@dataclass(frozen=True)
class HeadSet:
    """A head set.

    Attributes:
        ids: Head classes, in ascending order.
        note: How a tie at the cut was resolved; empty without a tie.
    """

    ids: tuple[int, ...]
    note: str = ""


def head_set(
    counts: NDArray[np.int64],
    *,
    rule: Literal["threshold", "share", "number"],
    threshold: int = 20,
    share: float = 0.5,
    number: int = 5,
    ties: Literal["out", "in"] = "out",
) -> HeadSet:
    """Chooses the head classes; each has strictly more photographs than every other class.

    Args:
        counts: Photographs of each class ``[K]``; classes with none belong to no set.
        rule: ``threshold``: classes with a count above ``threshold``; ``share``: a fraction of the
            classes; ``number``: a number of classes.
        threshold: See ``rule``.
        share: See ``rule``; rounded down to at least one class.
        number: See ``rule``.
        ties: Classes of equal count on both sides of the cut: all left ``out``, or all taken
            ``in``.

    Raises:
        ConfigError: Fewer than two classes are left.
    """
    present = np.flatnonzero(counts > 0)
    if rule == "threshold":
        chosen = present[counts[present] > threshold]
        return _checked(HeadSet(tuple(chosen.tolist())), counts, f"threshold {threshold}")
    wanted = number if rule == "number" else max(1, int(share * len(present) + 1e-9))
    order = present[np.argsort(-counts[present], kind="stable")]
    note = ""
    if wanted >= len(order):
        chosen = order
    else:
        cut = int(counts[order[wanted]])  # the first class outside
        inside = order[counts[order] > cut]
        tied = order[counts[order] == cut]
        chosen = order[:wanted]
        if len(inside) < wanted:
            chosen = inside if ties == "out" else np.concatenate([inside, tied])
            word = "left out" if ties == "out" else "taken in"
            note = (
                f"{len(tied)} classes have {cut} photographs each, on both sides of the cut at "
                f"{wanted} classes; all are {word}, so the head set has {len(chosen)}"
            )
    what = f"{rule} {share if rule == 'share' else number}"
    return _checked(HeadSet(tuple(sorted(chosen.tolist())), note), counts, what)


def _checked(head: HeadSet, counts: NDArray[np.int64], rule: str) -> HeadSet:
    if len(head.ids) < 2:
        shown = ", ".join(str(int(c)) for c in sorted(counts, reverse=True)[:12])
        raise ConfigError(
            f"the head set by {rule} has {len(head.ids)} class(es), expected 2 or more; the "
            f"classes have {shown} photographs. {head.note}".strip(),
            remedy="choose another --head-rule or its value, or --ties in",
        )
    return head
