"""From FFmpeg's frames to upright RGB: deinterlacing, colour matrix, rotation.

image = rgb_from_frame(frame)      # [H, W, 3] uint8
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.nv12 import Nv12Picture

HD_HEIGHT = 720
"""From this height on, video that does not state its colour matrix is taken as BT.709."""

_UNSTATED, _BT709 = 2, 1  # AVCOL_SPC_UNSPECIFIED, AVCOL_SPC_BT709
_MATRICES = {_BT709: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
_FULL = 2  # AVCOL_RANGE_JPEG
_PLANAR = ("yuv420p", "yuvj420p")


def rgb_from_frame(frame: Any) -> NDArray[np.uint8]:
    """A frame of PyAV as contiguous ``[H, W, 3]`` uint8 RGB, upright.

    Video that does not state its colour matrix is taken as BT.709 from `HD_HEIGHT` on and as BT.601
    below, as players do (ITU-R BT.709 and BT.601 are the standards of HD and SD production).
    """
    unstated = int(frame.colorspace) == _UNSTATED and frame.format.name != "rgb24"
    matrix = _BT709 if unstated and frame.height >= HD_HEIGHT else None
    plain = frame.reformat(format="rgb24", src_colorspace=matrix)
    plane = plain.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plain.height, plane.line_size)
    image = rows[:, : plain.width * 3].reshape(plain.height, plain.width, 3)
    turns = round((frame.rotation or 0) / 90) % 4
    if turns:
        image = np.rot90(image, turns)
    return np.ascontiguousarray(image)


def nv12_from_frame(frame: Any) -> Nv12Picture | None:
    """A frame of PyAV as NV12, its values unchanged; ``None`` where it is not upright 8-bit 4:2:0.

    `rgb_from_frame` converts it when its RGB is read. The planes may be those of the decoder, which
    stay as they are while the picture lives.
    """
    if frame.format.name not in (*_PLANAR, "nv12") or round((frame.rotation or 0) / 90) % 4:
        return None
    matrix = _matrix_of(frame)
    if matrix is None:
        return None
    is_full = frame.format.name == "yuvj420p" or int(frame.color_range) == _FULL
    planes = [_rows(plane) for plane in frame.planes]
    height, width = frame.height, frame.width
    high, wide = -(-height // 2), -(-width // 2)
    if frame.format.name == "nv12":
        chroma = planes[1][:high, : 2 * wide].reshape(high, wide, 2)
    else:
        u, v = (plane[:high, :wide] for plane in planes[1:])
        chroma = np.asarray(cv2.merge((u, v)), np.uint8)
    return Nv12Picture(
        luma=planes[0][:height, :width],
        chroma=chroma,
        colour=f"{matrix}-{'full' if is_full else 'limited'}",
        convert=partial(rgb_from_frame, frame),
    )


def _matrix_of(frame: Any) -> str | None:
    stated = int(frame.colorspace)
    if stated == _UNSTATED:
        return "bt709" if frame.height >= HD_HEIGHT else "bt601"
    return _MATRICES.get(stated)


def _rows(plane: Any) -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


class Deinterlacer:
    """FFmpeg's bwdif filter: one whole frame for each interlaced one, one frame late."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._form: tuple[Any, ...] = ()
        self._pushed = 0

    def push(self, frame: Any) -> list[Any]:
        """Gives the frames that are ready; at a change of size also those that were held back."""
        form = (frame.width, frame.height, frame.format.name)
        ready = []
        if form != self._form:
            ready = self.flush()
            self._build(frame)
            self._form = form
        # The filter wants rising numbers and returns them; real times are kept outside.
        frame.pts, frame.time_base = self._pushed, Fraction(1, 25)
        self._pushed += 1
        self._source.push(frame)
        return ready + self._pull()

    def flush(self) -> list[Any]:
        """Gives the frames that are held back; the next frame begins anew."""
        if self._graph is None:
            return []
        self._source.push(None)
        ready = self._pull()
        self._graph = None
        return ready

    def _build(self, frame: Any) -> None:
        graph = av.filter.Graph()
        self._source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=Fraction(1, 25),
        )
        scan = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        self._sink = graph.add("buffersink")
        self._source.link_to(scan)
        scan.link_to(self._sink)
        graph.configure()
        self._graph = graph

    def _pull(self) -> list[Any]:
        ready = []
        while True:
            try:
                ready.append(self._sink.pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return ready
