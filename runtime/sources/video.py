"""Video through PyAV: files, RTSP, HTTP, UDP, V4L2; rotated, deinterlaced, converted to RGB.

    frame = next(VideoSource("video.mp4").frames())

The decoder is that of training too (`trocar.contract.media.video.decoder`): every frame that a
player shows, in order, with times that never go back. Frames are 8-bit RGB whatever the file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from trocar.contract.errors import SourceError
from trocar.contract.media.clock import now_ns
from trocar.contract.media.nv12 import Picture
from trocar.contract.media.video.damage import Damage
from trocar.contract.media.video.decoder import DecodedFrame, VideoDecoder
from trocar.contract.media.video.demuxers import NotARecordingError
from trocar.runtime.sources.addresses import is_fetched, is_stream, redacted
from trocar.runtime.sources.base import DEFAULTS, PROMPT, Arrival, Frame, SourceOptions
from trocar.runtime.sources.live_packets import LivePackets

SHOWN_BEHIND_NS = 100_000_000
"""While packets are queued, a frame that is older is not converted if one was this time ago."""


class VideoSource:
    """One video stream of a file, a network stream or a camera.

    Args:
        address: A path or an address such as ``rtsp://…``.
        options: How it is opened.

    Attributes:
        nv12: Whether frames are NV12 where the video is upright 8-bit 4:2:0. Set before `frames`.

    Raises:
        SourceError: It cannot be opened, or contains no video.
    """

    def __init__(self, address: str, options: SourceOptions = DEFAULTS) -> None:
        self.name = redacted(address)
        self.live = is_stream(address)
        self._options = options
        self.nv12 = False
        self._closed = False
        self._packets = LivePackets(trusts_clock=options.source_clock) if self.live else None
        self._decoder = _open(address, self.name, options, arrivals=self._packets)
        is_recording = is_fetched(address) and self._decoder.states_its_end
        if self._packets is not None and is_recording:
            self._packets.trusts_clock = False
        self.fps: float | None = self._decoder.fps
        self.total: int | None = None if self.live else self._decoder.estimated_frames

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` as the stream's header states it, before rotation."""
        return self._decoder.size

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height in upright frames; 1 where the file is silent."""
        return self._decoder.pixel_aspect

    @property
    def damage(self) -> Damage:
        """What was damaged so far; complete when the frames have ended."""
        return self._decoder.damage

    @property
    def notes(self) -> list[str]:
        """What a person should know of the file; complete when the frames have ended."""
        return self._decoder.notes

    def frames(self) -> Iterator[Frame]:
        """Decodes to the end.

        Raises:
            SourceError: No frame can be decoded, the file is truncated, or a live stream ended.
        """
        try:
            yield from self._read()
        finally:
            self._decoder.close()

    def close(self) -> None:
        """Stops. A thread that reads returns with its next packet, or after the timeout."""
        self._closed = True
        self._decoder.close()

    def _read(self) -> Iterator[Frame]:
        count = 0
        fault: Exception | None = None
        waited = given = now_ns()
        before = PROMPT
        decoded = self._decoder.frames()
        while not self._closed:
            try:
                frame = next(decoded, None)
            except (av.FFmpegError, OSError) as error:
                fault = error
                break
            if frame is None:
                break
            count += 1
            packets = self._packets
            if packets is None:
                image = self._picture(frame)
                captured_ns, arrived_ns, arrival = now_ns(), frame.captured_ns, PROMPT
            else:
                if self._is_behind(frame.captured_ns, given):
                    packets.skipped += 1
                    continue
                image = self._picture(frame)
                captured_ns, arrived_ns = frame.captured_ns, packets.arrived_ns
                total = self._arrival_so_far(packets, frame.captured_ns)
                arrival, before = _difference(total, before), total
            given = now_ns()
            yield Frame(
                image=image,
                index=frame.index,
                time=frame.time,
                captured_ns=captured_ns,
                decode_ms=(given - max(waited, arrived_ns)) / 1e6,
                arrival=arrival,
            )
            waited = now_ns()
        if not self._closed:
            self._check_end(count, fault)

    def _picture(self, frame: DecodedFrame) -> Picture:
        nv12 = frame.nv12 if self.nv12 else None
        return frame.image if nv12 is None else nv12

    def _is_behind(self, captured_ns: int, given_ns: int) -> bool:
        """Whether newer packets wait, and the picture moves on without this frame."""
        assert self._packets is not None
        now = now_ns()
        old = now - captured_ns > SHOWN_BEHIND_NS
        return self._packets.queued and old and now - given_ns < SHOWN_BEHIND_NS

    def _arrival_so_far(self, packets: LivePackets, captured_ns: int) -> Arrival:
        damage = self._decoder.damage
        return Arrival(
            late_ms=(packets.arrived_ns - captured_ns) / 1e6,
            skipped=packets.skipped,
            damaged=damage.packets + damage.frames,
            clock_steps=packets.clock.steps,
        )

    def _check_end(self, read: int, fault: Exception | None) -> None:
        reason = f": {_reason(fault)}" if fault else ""
        if self.live:
            raise SourceError(
                f"the stream {self.name} ended after {read} frames{reason}",
                remedy="check the sender and the network",
            )
        if read == 0:
            if self.damage.ends_early:
                raise SourceError(
                    f"{self.name} is truncated before its first frame: {self.damage.ends_early}",
                    remedy="copy the video again",
                )
            raise SourceError(
                f"no frame of {self.name} can be decoded{reason}",
                remedy="play it elsewhere; convert it with ffmpeg -i IN -c:v libx264 OUT.mp4",
            )
        ends_early = self.damage.ends_early or (_reason(fault) if fault else "")
        if ends_early and not self._options.allow_truncated:
            raise SourceError(
                f"{self.name} is truncated: it ends after {read} frames: {ends_early}",
                remedy="copy the video again, or pass --allow-truncated to use these frames",
            )


def _difference(total: Arrival, before: Arrival) -> Arrival:
    return Arrival(
        late_ms=total.late_ms,
        skipped=total.skipped - before.skipped,
        damaged=total.damaged - before.damaged,
        clock_steps=total.clock_steps - before.clock_steps,
    )


def _open(
    address: str, name: str, options: SourceOptions, *, arrivals: LivePackets | None
) -> VideoDecoder:
    live = arrivals is not None
    settings = dict(options.options)
    if address.startswith("rtsp"):
        settings.setdefault("rtsp_transport", "tcp")
        if settings.get("rtsp_flags") == "listen":
            # Without it FFmpeg passes its default of -1 s on and then refuses that value.
            settings.setdefault("listen_timeout", str(max(1, round(options.timeout_s))))
    if live:
        if not is_fetched(address):
            # Packets that FFmpeg reads to recognise the stream are not given: a recording behind an
            # address would lose its beginning.
            settings.setdefault("fflags", "nobuffer")
        settings.setdefault("analyzeduration", "1000000")
    input_format = options.format or ("v4l2" if address.startswith("/dev/video") else None)
    hwaccel = None
    if options.hwaccel:
        hwaccel = _hwaccel(options.hwaccel)
    try:
        return VideoDecoder(
            address,
            format=input_format,
            options=settings,
            timeout_s=options.timeout_s if live else None,
            hwaccel=hwaccel,
            low_delay=live or options.low_latency,
            stream=options.stream,
            arrivals=arrivals,
        )
    except LookupError as error:
        raise SourceError(
            f"{name} {error}",
            remedy=error.remedy
            if isinstance(error, NotARecordingError)
            else "name a file with a video stream, or another number with --video-stream",
        ) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        what = "stream" if live else "video"
        raise SourceError(
            f"cannot open {name} as a {what}: {_reason(error)}",
            remedy="check the address, the sender and the network"
            if live
            else "check that it is a complete video file; copy it again if it is truncated",
        ) from error


def _hwaccel(kind: str) -> Any:
    known = av.codec.hwaccel.hwdevices_available()
    if kind not in known:
        raise SourceError(
            f"hardware decoding by {kind!r} is not in this build of FFmpeg",
            remedy=f"use one of {', '.join(known)}, or leave --hwaccel out",
        )
    # The decoder that was requested, or an error: no fallback to software.
    return av.codec.hwaccel.HWAccel(device_type=kind, allow_software_fallback=False)


def _reason(error: BaseException | None) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return redacted(str(text)) or type(error).__name__
