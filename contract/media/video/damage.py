"""What was damaged in a video.

Damage(packets=2, missing=14).text        # "2 damaged packets, 14 frames missing"
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Damage:
    """What a decoder met that was not as it should be.

    Attributes:
        packets: Packets that the container marks as damaged or that no decoder takes.
        frames: Frames that the decoder gave but marks as damaged.
        missing: Frames that the time stamps leave room for and that did not come: in video of
            constant frame rate that is MPEG-TS or MPEG-PS, or has damaged packets or frames.
        ends_early: Why the data end before the video does; empty for whole files.
    """

    packets: int = 0
    frames: int = 0
    missing: int = 0
    ends_early: str = ""

    @property
    def text(self) -> str:
        """The counts in words; empty where nothing was damaged."""
        counts = (
            (self.packets, "damaged packet", "damaged packets"),
            (self.frames, "damaged frame", "damaged frames"),
            (self.missing, "frame missing", "frames missing"),
        )
        return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)

    def to_dict(self) -> dict[str, int | str]:
        """JSON-ready form."""
        return {
            "damaged_packets": self.packets,
            "damaged_frames": self.frames,
            "missing_frames": self.missing,
            "ends_early": self.ends_early,
        }

    def __bool__(self) -> bool:
        """Whether anything was damaged or missing."""
        return bool(self.packets or self.frames or self.missing or self.ends_early)
