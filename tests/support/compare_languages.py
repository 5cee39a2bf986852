"""Compares instruments of C++ with Python's."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Instrument


def plain(found: Any) -> dict[str, Any]:
    """A C struct as plain data."""
    return {
        "class_id": found.class_id,
        "score": found.score,
        "box": tuple(found.box),
        "centroid": tuple(found.centroid),
        "area": found.area,
        "axis": tuple(found.axis),
        "angle": found.angle,
        "tips": tuple(tuple(found.tips[i]) for i in range(found.tip_count)),
        "entry": tuple(found.entry) if found.has_entry else None,
        "touches_border": bool(found.touches_border),
    }


def expected(instrument: Instrument) -> dict[str, Any]:
    return {key: getattr(instrument, key) for key in plain_keys()}


def plain_keys() -> tuple[str, ...]:
    return (
        "class_id", "score", "box", "centroid", "area", "axis", "angle", "tips", "entry",
        "touches_border",
    )  # fmt: skip


def assert_same(cpp: Any, python: tuple[Instrument, ...]) -> None:
    """Equal to the last bit, order included."""
    got = [plain(found) for found in cpp]
    assert got == [expected(instrument) for instrument in python]


def locate(
    cpp: Any,
    session: Any,
    labels: NDArray[np.uint8],
    confidence: NDArray[np.float32] | None,
    frame_size: tuple[int, int],
    *,
    view: tuple[float, float, float] = (0, 0, 0),
    capacity: int = 4096,
) -> Any:
    """`trocar_session_locate` on a map of any size."""
    found = (cpp.Instrument * capacity)()
    result = cpp.make(
        cpp.Result,
        instruments=found,
        instrument_capacity=capacity,
        instrument_size=ctypes.sizeof(cpp.Instrument),
    )
    frame = cpp.make(
        cpp.Frame, height=frame_size[0], width=frame_size[1], view=(ctypes.c_double * 3)(*view)
    )
    session.call(
        "locate",
        session.handle,
        cpp.pointer(labels),
        labels.shape[1],
        labels.shape[0],
        ctypes.c_ssize_t(labels.strides[0]),
        None if confidence is None else cpp.pointer(confidence, cpp.PF),
        ctypes.byref(frame),
        ctypes.byref(result),
    )
    assert result.instrument_total == result.instrument_count
    return found[: result.instrument_count]
