"""Decoding video for training and for the runtime alike: every frame shown, in order, upright.

with VideoDecoder("video.mp4") as decoder:
    for frame in decoder.frames():
        frame.image, frame.time          # [H, W, 3] uint8 RGB, seconds from the first frame

What a player shows comes out: hidden samples of edit lists do not, interlaced frames are
deinterlaced, turned ones are turned upright. Times never go back (`trocar.contract.media.clock`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.clock import PresentationClock, now_ns
from trocar.contract.media.nv12 import Nv12Picture
from trocar.contract.media.video.captures import Captures
from trocar.contract.media.video.conversion import (
    Deinterlacer,
    nv12_from_frame,
    rgb_from_frame,
)
from trocar.contract.media.video.damage import Damage
from trocar.contract.media.video.demuxers import safe_options, why_lost, why_refused
from trocar.contract.media.video.streams import choose_stream, states_its_end
from trocar.contract.media.video.truncation import missing_bytes

LOOKAHEAD = 64
"""Packets that are read before the first is decoded, to tell what their time stamps mean."""

Arrivals = Callable[[Iterator[Any]], Iterator[tuple[int, Any]]]
"""Takes packets as they are read; gives those to decode, each with the time of its capture."""

_LOSSY_FORMATS = ("mpegts", "mpeg")


@dataclass(frozen=True, kw_only=True)
class DecodedFrame:
    """One frame as a player shows it.

    Attributes:
        picture: FFmpeg's frame; `rgb_from_frame` converts it.
        index: Number of the frame in the recording, from 0. Frames that are missing in video of
            constant frame rate are counted, so that numbers do not shift; see `Damage.missing`.
        time: Seconds from the first frame; larger than the time of the frame before.
        captured_ns: `trocar.contract.media.clock.now_ns` of its capture, see ``arrivals`` of
            `VideoDecoder`.
    """

    picture: av.VideoFrame
    index: int
    time: float
    captured_ns: int

    @property
    def image(self) -> NDArray[np.uint8]:
        """``[H, W, 3]`` uint8 RGB, upright; converted at each call."""
        return rgb_from_frame(self.picture)

    @property
    def nv12(self) -> Nv12Picture | None:
        """The same as NV12, where it is upright 8-bit 4:2:0 of a known matrix; else ``None``."""
        return nv12_from_frame(self.picture)


@dataclass(kw_only=True)
class _Counts:
    """What is known of the packets and frames that came so far."""

    frames: int = 0
    index: int = -1
    single_steps: int = 0
    restarts: int = 0
    regular_steps: int = 0
    last_time: float = 0.0
    last_packet_damaged: bool = False


class VideoDecoder:
    """Decodes one video stream of a file, a network stream or a camera.

    Args:
        place: A file's path, a stream's address or a device.
        format: FFmpeg's input format where it cannot be guessed.
        options: FFmpeg's options of the container.
        timeout_s: How long a stream may be silent; ``None``: for ever.
        hwaccel: A hardware accelerator of PyAV.
        low_delay: Decode for latency instead of throughput.
        stream: Which of several video streams, from 0; ``None``: the one that FFmpeg calls best.
        arrivals: Tells when each packet was captured, and may pass packets over; default: when it
            was read.

    Attributes:
        damage: What was damaged so far; complete when `frames` has ended.
        size: ``(height, width)`` as the stream's header states it, before any turning.
        states_its_end: Whether it states its length or size, as live streams do not.
        notes: What a person should know of the file: several streams, HDR, pixels that are
            not square, replaced time stamps.

    Raises:
        av.FFmpegError: It cannot be opened.
        LookupError: It contains no video stream, or no such one; the message lists what there is.
        NotARecordingError: It is a text, or a playlist that was not asked for by ``format``; or it
            was cut so that its index is lost.
    """

    def __init__(
        self,
        place: str,
        *,
        format: str | None = None,
        options: dict[str, str] | None = None,
        timeout_s: float | None = None,
        hwaccel: Any = None,
        low_delay: bool = False,
        stream: int | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self.damage = Damage()
        self._arrivals = arrivals or _as_they_are_read
        self._is_sideways = False
        self._guard = threading.Lock()
        self._is_reading = False
        self._is_closed = False
        self.notes: list[str] = []
        self._file = Path(place) if Path(place).is_file() else None
        # A name such as "a:b.mp4" would be taken for an address of the protocol "a".
        address = f"file:{place}" if self._file is not None else place
        is_unknown = self._file is not None and format is None
        try:
            self._container: Any = av.open(
                address,
                format=format,
                options={**(safe_options() if is_unknown else {}), **(options or {})},
                timeout=timeout_s,
                hwaccel=hwaccel,
                # Titles are in any encoding, and nobody reads them here.
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError) as error:
            reason = why_refused(self._file) if is_unknown and self._file is not None else None
            reason = reason or why_lost(self._file)
            if reason is None:
                raise
            raise reason from error
        try:
            self._stream, notes = choose_stream(self._container, stream)
        except LookupError as error:
            self._container.close()
            reason = why_lost(self._file)
            if reason is None:
                raise
            raise reason from error
        self.notes += notes
        # Stored: other threads ask for them, also after the file was closed.
        self._stated_aspect = self._read_aspect()
        self.size = self._stream.codec_context.height, self._stream.codec_context.width
        self.states_its_end = states_its_end(self._container)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps: float | None = float(rate) if rate else None
        # Frame threads decode several frames at once, but hold each one back; slices do not.
        self._stream.thread_type = "SLICE" if low_delay else "AUTO"
        if low_delay:
            self._stream.codec_context.flags |= av.codec.context.Flags.low_delay
        self._low_delay = low_delay

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height in upright frames; 1 where the file is silent."""
        return 1 / self._stated_aspect if self._is_sideways else self._stated_aspect

    def _read_aspect(self) -> Fraction:
        return Fraction(self._stream.sample_aspect_ratio or 1) or Fraction(1)

    @property
    def estimated_frames(self) -> int | None:
        """Number of frames by the header, for progress bars; it may be wrong in whole files."""
        if self._stream.frames:
            return int(self._stream.frames)
        duration = self._stream.duration
        if duration and self._stream.time_base and self.fps:
            return round(float(duration * self._stream.time_base) * self.fps)
        length = self._container.duration
        return round(length / 1e6 * self.fps) if length and self.fps else None

    def frames(self) -> Iterator[DecodedFrame]:
        """Decodes to the end, or until `close` is called.

        Raises:
            av.FFmpegError, OSError: The data cannot be read any further. Frames that could be
                decoded have been given by then.
        """
        with self._guard:
            if self._is_closed:
                return
            self._is_reading = True
        try:
            yield from self._frames()
        finally:
            with self._guard:
                self._is_reading = False
                if self._is_closed:
                    self._container.close()

    def _frames(self) -> Iterator[DecodedFrame]:
        source = self._container.demux(self._stream)
        ahead, fault = self._look_ahead(source)
        clock = PresentationClock(
            fps=self.fps,
            reordered=_follows_decoding(
                [packet for _, packet in ahead], reorders=self._stream.codec_context.has_b_frames
            ),
        )
        counts, captures = _Counts(), Captures()
        deinterlacer: Deinterlacer | None = None
        # The deinterlacer holds frames back, so times and pictures wait for each other.
        times: deque[tuple[float, int, int]] = deque()
        for captured, packet in self._packets(ahead, fault, source):
            if self._is_closed:
                return
            captures.expect(packet.pts, captured)
            for frame in self._decode(packet, clock, counts):
                if frame.is_corrupt:
                    self.damage.frames += 1
                time = clock.time_of(_seconds(frame.pts, frame.time_base))
                times.append((time, captures.of_frame(frame.pts, captured), clock.restarts))
                if frame.interlaced_frame and deinterlacer is None:
                    deinterlacer = Deinterlacer()
                shown = [frame] if deinterlacer is None else deinterlacer.push(frame)
                for picture in shown:
                    yield self._shown(picture, *times.popleft(), counts)
        if deinterlacer is not None:
            for picture in deinterlacer.flush():
                yield self._shown(picture, *times.popleft(), counts)
        self._finish(clock, counts)

    def close(self) -> None:
        """Ends the reading and frees the file; any thread may call it, more than once.

        FFmpeg's structures may not be freed while a thread uses them, nor by two threads at once:
        where a thread is inside `frames`, it frees them with its next packet.
        """
        with self._guard:
            self._is_closed = True
            if not self._is_reading:
                self._container.close()

    def __enter__(self) -> VideoDecoder:
        """Gives itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes."""
        self.close()

    def _look_ahead(self, source: Iterator[Any]) -> tuple[list[tuple[int, Any]], Exception | None]:
        """The first packets, and what stopped the reading where something did."""
        ahead: list[tuple[int, Any]] = []
        if self._low_delay:
            return ahead, None
        try:
            for packet in source:
                ahead.append((now_ns(), packet))
                if len(ahead) == LOOKAHEAD:
                    break
        except (av.FFmpegError, OSError) as error:
            return ahead, error
        return ahead, None

    def _packets(
        self, ahead: list[tuple[int, Any]], fault: Exception | None, source: Iterator[Any]
    ) -> Iterator[tuple[int, Any]]:
        yield from ahead
        if fault is not None:
            raise fault
        yield from self._arrivals(source)

    def _decode(self, packet: Any, clock: PresentationClock, counts: _Counts) -> list[Any]:
        """Frames of one packet; a damaged packet is counted and passed over."""
        stamp = _seconds(packet.dts if packet.pts is None else packet.pts, packet.time_base)
        is_data = packet.size > 0
        if is_data and stamp is not None and not packet.is_discard:
            clock.expect(stamp)
        damaged = is_data and packet.is_corrupt
        try:
            frames: list[Any] = packet.decode()
        except av.error.InvalidDataError:
            # The decoder goes on at the next packet that it can use.
            damaged, frames = True, [] if is_data else self._drain()
            if stamp is not None:
                clock.forget(stamp)
        if damaged:
            self.damage.packets += 1
        # Threads of the decoder tell of the last packets' damage when they are flushed.
        if is_data or damaged:
            counts.last_packet_damaged = damaged
        return frames

    def _drain(self) -> list[Any]:
        """What the decoder still holds after a fault in its last packets."""
        frames: list[Any] = []
        for _ in range(LOOKAHEAD):
            try:
                frames.extend(self._stream.codec_context.decode(None))
            except av.error.InvalidDataError:
                continue
            except (av.error.EOFError, EOFError):
                break
            else:
                break
        return frames

    def _shown(
        self, picture: Any, time: float, captured: int, restarts: int, counts: _Counts
    ) -> DecodedFrame:
        ahead = 1
        if counts.frames and self.fps:
            step = (time - counts.last_time) * self.fps
            counts.regular_steps += abs(step - round(step)) < 0.1
            counts.single_steps += round(step) == 1
            # Most steps so far were of one frame: what is longer is a gap.
            is_steady = counts.frames >= 8 and counts.single_steps > 0.5 * counts.frames
            if is_steady and restarts == counts.restarts and self._misses_frames(counts):
                ahead = max(1, round(step))
        counts.index += ahead
        counts.restarts = restarts
        counts.last_time = time
        if not counts.frames:
            self._stated_aspect = self._read_aspect()
        self._is_sideways = round((picture.rotation or 0) / 90) % 2 == 1
        counts.frames += 1
        return DecodedFrame(picture=picture, index=counts.index, time=time, captured_ns=captured)

    def _misses_frames(self, counts: _Counts) -> bool:
        """Whether a gap in the time stamps so far means lost frames.

        Broadcast streams lose data without a mark; in other containers a gap may be meant.
        """
        lossy = self._container.format.name in _LOSSY_FORMATS
        return bool(self.damage or lossy) and counts.regular_steps >= 0.9 * (counts.frames - 1)

    def _finish(self, clock: PresentationClock, counts: _Counts) -> None:
        lacking = missing_bytes(self._file) if self._file is not None else 0
        if lacking:
            self.damage.ends_early = f"{lacking} bytes are missing at its end"
        elif counts.last_packet_damaged:
            self.damage.ends_early = "its last packet is damaged"
        if self.fps and self._misses_frames(counts):
            due = round(counts.last_time * self.fps) + 1
            self.damage.missing = max(0, due - counts.frames)
        if clock.corrections:
            self.notes.append(f"{clock.corrections} of its time stamps went back and were replaced")
        if clock.restarts:
            self.notes.append(f"its clock started again {clock.restarts} times; time goes on")
        if self.pixel_aspect != 1:
            wide, high = self.pixel_aspect.as_integer_ratio()
            self.notes.append(
                f"its pixels are not square ({wide}:{high}, width to height); results count stored "
                "pixels, players show them stretched"
            )


def _follows_decoding(packets: list[Any], *, reorders: bool) -> bool:
    """Whether packets carry rising time stamps although the decoder reorders their frames.

    Presentation times of reordered frames do not rise from packet to packet; where they do, they
    number packets in the order of decoding.
    """
    stamps = [p.dts if p.pts is None else p.pts for p in packets if p.size]
    known = [stamp for stamp in stamps if stamp is not None]
    rising = all(a < b for a, b in pairwise(known))
    return bool(reorders) and len(known) > 1 and rising


def _as_they_are_read(packets: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    for packet in packets:
        yield now_ns(), packet


def _seconds(stamp: int | None, base: Fraction | None) -> float | None:
    return None if stamp is None or base is None else float(stamp * base)
