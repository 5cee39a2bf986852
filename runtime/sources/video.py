"""Video through PyAV: files, RTSP, HTTP, UDP, V4L2; rotated, deinterlaced, converted to RGB.

    frame = next(VideoSource("video.mp4").frames())

Time stamps are the stream's own. Frames are decoded to 8-bit RGB from every pixel format.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import SourceError
from trocar.runtime.sources.base import DEFAULTS, Frame, SourceOptions, is_stream, redacted


class VideoSource:
    """One video stream of a file, a network stream or a camera.

    Args:
        address: A path or an address such as ``rtsp://…``.
        options: How it is opened.

    Attributes:
        corrupt: Frames and packets so far that the decoder reported as damaged.

    Raises:
        SourceError: It cannot be opened, or contains no video.
    """

    def __init__(self, address: str, options: SourceOptions = DEFAULTS) -> None:
        self.name = redacted(address)
        self.live = is_stream(address)
        self._options = options
        self._closed = False
        self._reading = False
        self._container = _open(address, self.name, options, live=self.live)
        try:
            self._stream = _video_stream(self._container, self.name)
        except SourceError:
            self._container.close()
            raise
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps: float | None = float(rate) if rate else None
        self._stated_frames = 0 if self.live else int(self._stream.frames or 0)
        duration = self._container.duration
        self._duration_s = 0.0 if self.live or not duration else max(0.0, duration / 1e6)
        self.total: int | None = (
            self._stated_frames or round(self._duration_s * (self.fps or 0)) or None
        )
        # Frame threads decode several frames at once, but delay each one; slice threads do not.
        low = self.live or options.low_latency
        self._stream.thread_type = "SLICE" if low else "AUTO"
        if low:
            self._stream.codec_context.flags |= av.codec.context.Flags.low_delay
        self.corrupt = 0
        self._last_time = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` as the stream's header states it, before rotation."""
        return self._stream.codec_context.height, self._stream.codec_context.width

    def frames(self) -> Iterator[Frame]:
        """Decodes to the end.

        Raises:
            SourceError: No frame can be decoded, or the file ends before its header says so.
        """
        self._reading = True
        try:
            yield from self._read()
        finally:
            self._reading = False
            self._container.close()

    def close(self) -> None:
        """Stops. A thread that reads returns with its next packet, or after the timeout.

        FFmpeg's structures may not be freed while a thread uses them, so the reading thread closes
        the container.
        """
        self._closed = True
        if not self._reading:
            self._container.close()

    def _read(self) -> Iterator[Frame]:
        index = 0
        fault: Exception | None = None
        deinterlacer: _Deinterlacer | None = None
        waited = monotonic_ns()
        decoded = self._decoded()
        while not self._closed:
            try:
                frame, captured = next(decoded)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                fault = error
                break
            if frame.is_corrupt:
                self.corrupt += 1
            if frame.interlaced_frame and deinterlacer is None:
                deinterlacer = _Deinterlacer(self._stream)
            for clean in [frame] if deinterlacer is None else deinterlacer.push(frame):
                image = _rgb(clean)
                now = monotonic_ns()
                self._last_time = self._time(clean, index)
                yield Frame(
                    image=image,
                    index=index,
                    time=self._last_time,
                    captured_ns=captured if self.live else now,
                    decode_ms=(now - max(waited, captured)) / 1e6,
                )
                index += 1
            waited = monotonic_ns()
        if not self._closed:
            self._check_end(index, fault)

    def _decoded(self) -> Iterator[tuple[Any, int]]:
        for packet in self._container.demux(self._stream):
            captured = monotonic_ns()
            if self._closed:
                return
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                # One broken packet does not end the stream: the decoder recovers at a key frame.
                self.corrupt += 1
                continue
            for frame in frames:
                yield frame, captured

    def _time(self, frame: Any, index: int) -> float:
        if frame.pts is not None and frame.time_base is not None:
            start = self._stream.start_time or 0
            return float((frame.pts - start) * frame.time_base)
        return index / (self.fps or 25.0)

    def _check_end(self, read: int, fault: Exception | None) -> None:
        reason = f": {_reason(fault)}" if fault else ""
        if self.live:
            raise SourceError(
                f"the stream {self.name} ended after {read} frames{reason}",
                remedy="check the sender and the network",
            )
        if read == 0:
            raise SourceError(
                f"no frame of {self.name} can be decoded{reason}",
                remedy="play it elsewhere; convert it with ffmpeg -i IN -c:v libx264 OUT.mp4",
            )
        if self._stated_frames:
            short = read < self._stated_frames * 0.99 - 1
        else:
            short = self._last_time < self._duration_s * 0.98 - 1
        if (short or fault is not None) and not self._options.allow_truncated:
            expected = f" of {self.total}" if self.total else ""
            raise SourceError(
                f"{self.name} is truncated: it ends after {read}{expected} frames{reason}",
                remedy="copy the video again, or pass --allow-truncated to use these frames",
            )


class _Deinterlacer:
    """FFmpeg's bwdif filter: one full frame for each interlaced one."""

    def __init__(self, stream: Any) -> None:
        graph = av.filter.Graph()
        self._source = graph.add_buffer(template=stream)
        scan = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        self._sink = graph.add("buffersink")
        self._source.link_to(scan)
        scan.link_to(self._sink)
        graph.configure()
        self._graph = graph

    def push(self, frame: Any) -> list[Any]:
        """Returns the frames that are ready."""
        self._source.push(frame)
        ready = []
        while True:
            try:
                ready.append(self._sink.pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return ready


def _open(address: str, name: str, options: SourceOptions, *, live: bool) -> Any:
    settings = dict(options.options)
    if address.startswith("rtsp"):
        settings.setdefault("rtsp_transport", "tcp")
        if settings.get("rtsp_flags") == "listen":
            # Without it FFmpeg passes its default of -1 s on and then refuses that value.
            settings.setdefault("listen_timeout", str(max(1, round(options.timeout_s))))
    if live:
        settings.setdefault("fflags", "nobuffer")
        settings.setdefault("analyzeduration", "1000000")
    input_format = options.format or ("v4l2" if address.startswith("/dev/video") else None)
    hwaccel = None
    if options.hwaccel:
        hwaccel = _hwaccel(options.hwaccel)
    try:
        return av.open(
            address,
            format=input_format,
            options=settings,
            timeout=options.timeout_s if live else None,
            hwaccel=hwaccel,
        )
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


def _video_stream(container: Any, name: str) -> Any:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams}) or ["no stream"]
        raise SourceError(
            f"{name} contains no video, only {', '.join(kinds)}",
            remedy="name a file with a video stream",
        )
    return streams[0]


def _rgb(frame: Any) -> NDArray[np.uint8]:
    """The frame as contiguous uint8 RGB, rotated upright; not copied where rows have no padding."""
    plain = frame.reformat(format="rgb24")
    plane = plain.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plain.height, plane.line_size)
    image = rows[:, : plain.width * 3].reshape(plain.height, plain.width, 3)
    turns = round((frame.rotation or 0) / 90) % 4
    if turns:
        image = np.rot90(image, turns)
    return np.ascontiguousarray(image)


def _reason(error: BaseException | None) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return redacted(str(text)) or type(error).__name__
