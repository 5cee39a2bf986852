"""What one check of `trocar doctor` found.

finding = Finding(check="disk", state="ok", detail="120 GiB free here")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "absent"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: Name of the part that was checked.
        state: ``ok``; ``warn``: it works with a restriction; ``fail``: it is installed and does
            not work; ``absent``: it is not installed, which is no fault unless it is needed.
        detail: What the check saw, e.g. a version.
        remedy: What the user can do; empty when there is nothing to do.
    """

    check: str
    state: State
    detail: str
    remedy: str = ""
