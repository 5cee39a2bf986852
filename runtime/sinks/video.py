"""Overlay video: H.264 into MP4 files, live recordings that survive a crash, UDP and RTSP out.

    sink = VideoSink("out.mp4")
    sink.open(StreamInfo(name="clip", size=(1080, 1920), fps=25.0))

PyAV's wheel contains libx264, which is under the GPL: this matters when you ship it.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import SinkError
from trocar.runtime.in_use import InUse
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.files import AtomicFile, sink_error
from trocar.runtime.sources.addresses import is_stream, redacted

_CLOCK = 90_000
_FORMATS = {"udp": "mpegts", "tcp": "mpegts", "srt": "mpegts", "rtsp": "rtsp", "rtmp": "flv"}


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How video is encoded.

    Attributes:
        codec: FFmpeg encoder, e.g. ``libx264`` or ``h264_nvenc``.
        preset: Speed preset of libx264.
        quality: Constant rate factor of libx264, 0 (lossless) to 51.
        threads: Encoder threads; 0 lets the encoder choose.
    """

    codec: str = "libx264"
    preset: str = "ultrafast"
    quality: int = 21
    threads: int = 0


DEFAULTS = EncodeOptions()


class VideoSink:
    """Encodes overlays into a file or onto the network.

    Args:
        address: A file, or an address such as ``udp://…``.
        options: How the video is encoded.
        overwrite: Whether an existing file is replaced.
        live: Whether a file is a fragmented MP4: after a crash it plays up to the last fragment
            (half a second), under its partial name.

    Raises:
        SinkError: No live recording can be made under that name, or with that encoder.
    """

    wants_every_frame = True

    def __init__(
        self,
        address: str | Path,
        *,
        options: EncodeOptions = DEFAULTS,
        overwrite: bool = False,
        live: bool = False,
    ) -> None:
        self._address = str(address)
        self.name = redacted(self._address)
        self._options = options
        self._live = live
        self._network = is_stream(self._address)
        self._output = (
            None
            if self._network
            else AtomicFile(Path(self._address), overwrite=overwrite, live=live)
        )
        self._container: Any = None
        self._in_use = InUse(self._free)
        self._stream: Any = None
        self._size = (0, 0)
        self._last = -1
        if live and self._output is not None:
            self._try()

    def _try(self) -> None:
        """Opens such a file elsewhere: a live run opens its outputs when it has a picture."""
        with tempfile.TemporaryDirectory(prefix="trocar-") as folder:
            place = Path(folder) / f"trial{Path(self._address).suffix}"
            trial = VideoSink(place, options=self._options)
            trial.name = self.name
            trial.open(StreamInfo(name=self.name, size=(240, 320), fps=25.0))
            trial.discard()

    def open(self, info: StreamInfo) -> None:
        """Opens the file and the encoder.

        Raises:
            OutputExistsError: The file exists and may not be replaced.
            SinkError: The file, the network or the encoder is not available, or no such video can
                be in a file of that name.
        """
        # A name such as "live:1.mp4" would be taken for an address of the protocol "live".
        target = self._address if self._output is None else f"file:{self._output.prepare()}"
        # 4:2:0 has one colour sample for two by two pixels: odd sizes grow by one.
        self._size = (info.size[0] + info.size[0] % 2, info.size[1] + info.size[1] % 2)
        mp4 = Path(self._address).suffix.lower() in {".mp4", ".m4v", ".mov"} and not self._network
        settings = {"rtsp_transport": "tcp"} if self._address.startswith("rtsp") else {}
        if mp4:
            flags = "frag_keyframe+empty_moov+default_base_moof" if self._live else "faststart"
            settings["movflags"] = flags
            if self._live:
                # What is encoded is on disk at once, not in a buffer that a crash would lose.
                settings["flush_packets"] = "1"
        self._in_use = InUse(self._free)
        try:
            self._container = av.open(
                target,
                "w",
                format=_FORMATS.get(self._address.partition(":")[0]) if self._network else None,
                container_options=settings,
            )
            self._stream = self._add_stream(info)
            if not self._network:
                # Writes the head of the file: what a format cannot hold is refused before any work.
                self._container.start_encoding()
        except SinkError:
            self._refuse()
            raise
        except av.error.ArgumentError as error:
            self._refuse()
            raise self._wrong_format() from error
        except (av.FFmpegError, OSError) as error:
            self._refuse()
            raise sink_error(self.name, error) from error
        except ValueError as error:
            self._refuse()
            raise self._wrong_format() from error

    def _add_stream(self, info: StreamInfo) -> Any:
        options = self._options
        rate = Fraction(info.fps).limit_denominator(1001)
        settings = {}
        if options.codec == "libx264":
            settings = {"preset": options.preset, "crf": str(options.quality)}
            if self._live:
                settings["tune"] = "zerolatency"
        try:
            stream: Any = self._container.add_stream(options.codec, rate=rate, options=settings)
        except av.codec.codec.UnknownCodecError as error:
            raise SinkError(
                f"this build of FFmpeg has no encoder {options.codec!r}",
                remedy="use libx264, which PyAV's wheel contains, or h264_nvenc on an NVIDIA GPU",
            ) from error
        stream.height, stream.width = self._size
        stream.pix_fmt = "yuv420p"
        if info.pixel_aspect != 1:
            stream.sample_aspect_ratio = info.pixel_aspect
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.thread_count = options.threads
        # OpenCV converts by BT.601, studio range. Without these tags players assume BT.709 above
        # 576 lines.
        context.colorspace = 5
        context.color_primaries = 1
        context.color_trc = 1
        context.color_range = 1
        if self._live:
            # A fragment ends at a key frame: one every half second limits what a crash loses.
            context.gop_size = max(1, round(info.fps / 2))
        return stream

    def _wrong_format(self) -> SinkError:
        return SinkError(
            f"no video of {self._options.codec} can be in a file named {self.name}",
            remedy="end its name in .mp4, .mkv, .mov or .avi",
        )

    def write(self, event: FrameEvent) -> None:
        """Encodes one overlay.

        Raises:
            SinkError: The encoder fails or the disk is full.
        """
        planes = self._planes(event.overlay())
        # Where a plane of colours has an odd number of rows, `from_numpy_buffer` of PyAV 18.1 takes
        # both from the wrong place: of such heights (486 lines of NTSC) a copy is made.
        odd = self._size[0] % 4
        made = av.VideoFrame.from_ndarray if odd else av.VideoFrame.from_numpy_buffer
        frame = made(planes, format="yuv420p")
        stamp = max(self._last + 1, round(event.frame.time * _CLOCK))
        self._last = stamp
        frame.pts = stamp
        frame.time_base = Fraction(1, _CLOCK)
        with self._in_use.using() as usable:
            if usable:
                self._mux(frame)

    def close(self) -> None:
        """Flushes the encoder and ends the file.

        Raises:
            SinkError: The disk is full.
        """
        with self._in_use.using() as usable:
            if not usable or self._container is None:
                return
            if self._last >= 0:
                self._mux(None)
            container, self._container = self._container, None
            try:
                container.close()
            except (av.FFmpegError, OSError) as error:
                raise sink_error(self.name, error) from error

    def commit(self) -> None:
        """Gives the file its final name."""
        if self._output is not None:
            self._output.commit()

    def settle(self) -> None:
        """Removes what it replaced."""
        if self._output is not None:
            self._output.settle()

    def discard(self) -> None:
        """Removes the unfinished file; a live recording is finished and stays as partial.

        While another thread encodes, the file is closed by that thread, after its frame.
        """
        self._in_use.close()
        if self._output is not None and self._container is None:
            self._output.discard()

    def _refuse(self) -> None:
        """Removes the file of an output that could not be opened, a live one too."""
        if self._output is not None:
            self._output.is_refused = True
        self.discard()

    def _free(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(Exception):
                container.close()
        if self._output is not None:
            self._output.discard()

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise sink_error(self.name, error) from error

    def _planes(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image as planar 4:2:0 of the file's size."""
        height, width = self._size
        if image.shape[:2] != (height, width):
            image = _fitted(image, height, width)
        return cast("NDArray[np.uint8]", cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420))


def _fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The image at another size: one row or column more, or scaled with black bars."""
    h, w = image.shape[:2]
    if 0 <= height - h <= 1 and 0 <= width - w <= 1:
        padded = cv2.copyMakeBorder(image, 0, height - h, 0, width - w, cv2.BORDER_REPLICATE)
        return cast("NDArray[np.uint8]", padded)
    scale = min(height / h, width / w)
    size = (min(width, max(1, round(w * scale))), min(height, max(1, round(h * scale))))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.uint8)
    y, x = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[y : y + size[1], x : x + size[0]] = small
    return canvas
