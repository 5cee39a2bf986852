"""The protocol of sources, and what a source returns for each frame.

    frame = Frame(image=np.zeros((720, 1280, 3), np.uint8), index=0, time=0.0, captured_ns=0)

A capture card needs a class with the attributes and methods of `Source`, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.nv12 import Picture, rgb_of
from trocar.contract.media.video.damage import Damage


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """How a frame of a live source came; the counts are those since the frame before.

    Attributes:
        late_ms: How much later than the source's clock says it reached this process: time in
            queues of the sender, the network and this machine, and in the decoder until the frames
            had come that are decoded before it is shown. ``captured_ns`` accounts for it.
        skipped: Frames that were passed over because the decoder was behind.
        damaged: Damaged packets and frames.
        clock_steps: How often the source's clock stepped.
    """

    late_ms: float = 0.0
    skipped: int = 0
    damaged: int = 0
    clock_steps: int = 0


PROMPT = Arrival()
"""In time and whole: frames of sources that tell nothing else."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a frame was taken inside the body, as an out-of-body model judged it.

    Attributes:
        outside: Whether it counts as outside.
        reason: Why, in words; empty inside.
        failed: Whether the model failed on it.
        covered: Whether the picture of the frame was blurred or blacked.
    """

    outside: bool
    reason: str = ""
    failed: bool = False
    covered: bool = False


class _Image:
    """The field ``image`` of `Frame`: set as RGB or NV12, read as RGB."""

    def __get__(self, frame: Frame | None, owner: type) -> NDArray[np.uint8]:
        if frame is None:
            raise AttributeError("image")  # So `dataclass` knows no default.
        return rgb_of(frame.picture)

    def __set__(self, frame: Frame, value: Picture) -> None:
        frame.__dict__["_picture"] = value


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded frame.

    Attributes:
        image: ``[H, W, 3]`` uint8 RGB. It may be given as an `Nv12Picture`, which is converted when
            ``image`` is first read.
        index: Number of the decoded frame, from 0.
        time: Presentation time in seconds, from the stream where it has one.
        captured_ns: `trocar.contract.media.clock.now_ns` when it was captured: when its data
            reached this process, less its lateness where the source's clock tells it. Equal to
            `time.monotonic_ns` on a machine that was not suspended.
        decode_ms: Milliseconds of decoding and colour conversion.
        arrival: How it came.
        body: What the out-of-body model said; ``None`` without one.
    """

    image: _Image = _Image()
    index: int
    time: float
    captured_ns: int
    decode_ms: float = 0.0
    arrival: Arrival = PROMPT
    body: Verdict | None = None

    @property
    def picture(self) -> Picture:
        """The image as it was given, RGB or NV12."""
        given: Picture = self.__dict__["_picture"]
        return given

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self.picture.shape[0], self.picture.shape[1]

    def changed(self, **changes: Any) -> Frame:
        """A copy with other values; an image of NV12 stays one."""
        return replace(self, **{"image": self.picture, **changes})

    @property
    def covered(self) -> bool:
        """Whether its picture was blurred or blacked, because it is from outside the body."""
        return self.body is not None and self.body.covered


class Source(Protocol):
    """What a pipeline needs of a source.

    Attributes:
        name: Name for messages; holds no password.
        fps: Nominal frames a second, ``None`` when unknown.
        total: Number of frames, ``None`` when unknown or endless.
        live: Whether frames arrive at their own pace and are lost when they are not read.
    """

    @property
    def name(self) -> str:
        """Name for messages."""
        ...

    @property
    def fps(self) -> float | None:
        """Nominal frames a second."""
        ...

    @property
    def total(self) -> int | None:
        """Number of frames."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames arrive at their own pace."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Returns frames in order until the end."""
        ...

    def close(self) -> None:
        """Stops; a thread that waits in `frames` returns. May be called twice."""
        ...


@runtime_checkable
class HasSize(Protocol):
    """A source that knows the size of its frames before the first one."""

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels, before rotation; zeros where it is not known yet."""
        ...


@runtime_checkable
class GivesNv12(Protocol):
    """A source that can give frames as NV12, where they are decoded as 8-bit 4:2:0.

    Attributes:
        nv12: Whether it does; off by default. Set before the first frame.
    """

    nv12: bool


@runtime_checkable
class ReportsDamage(Protocol):
    """A source that counts what was damaged; the others count as undamaged.

    Attributes:
        damage: What was damaged so far; complete when the frames have ended.
        notes: What a person should know of the source: HDR, replaced time stamps, other streams.
    """

    @property
    def damage(self) -> Damage:
        """What was damaged so far."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of the source."""
        ...


@runtime_checkable
class HasPixelAspect(Protocol):
    """A source whose pixels need not be square; those of the others are.

    Attributes:
        pixel_aspect: Width of a pixel divided by its height, e.g. 64/45 in PAL video.
    """

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How sources are opened.

    Attributes:
        hwaccel: Hardware that decodes: ``cuda``, ``vaapi``, ``qsv`` …; ``None`` decodes on the CPU.
        format: Name of the FFmpeg input format, where it cannot be guessed (``v4l2``).
        timeout_s: Seconds without data after which a stream counts as lost.
        low_latency: Whether to decode for latency instead of throughput.
        allow_truncated: Whether a truncated file is accepted.
        stream: Which of several video streams, from 0; ``None``: the one that FFmpeg prefers.
        fps: Frames a second of an image folder.
        source_clock: Whether a stream's time stamps are a clock that tells how late its data come.
        options: Passed to FFmpeg unchanged.
    """

    hwaccel: str | None = None
    format: str | None = None
    timeout_s: float = 5.0
    low_latency: bool = False
    allow_truncated: bool = False
    stream: int | None = None
    fps: float = 25.0
    source_clock: bool = True
    options: tuple[tuple[str, str], ...] = ()


DEFAULTS = SourceOptions()
