"""Gives NV12 frames to libtrocar through its ctypes example.

(result,) = run_planes(cpp, session, picture)
"""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

from trocar.contract.media.nv12 import COLOURS, Nv12Picture


def run_planes(cpp: ModuleType, native: Any, *pictures: Nv12Picture, **changes: int) -> list[Any]:
    """Runs planes that lie where they lie, with the strides of their arrays."""
    frames = (cpp.Frame * len(pictures))(
        *(
            cpp.make(
                cpp.Frame,
                **{
                    "format": cpp.FORMATS["nv12"],
                    "width": picture.shape[1],
                    "height": picture.shape[0],
                    "data": picture.luma.ctypes.data,
                    "stride": picture.luma.strides[0],
                    "chroma": picture.chroma.ctypes.data,
                    "chroma_stride": picture.chroma.strides[0],
                    "yuv": COLOURS.index(picture.colour),
                    **changes,
                },
            )
            for picture in pictures
        )
    )
    made = [native.room(frame, 64, False) for frame in frames]
    results = (cpp.Result * len(frames))(*(result for result, _ in made))
    native.call("run", native.handle, frames, ctypes.c_uint32(len(frames)), results)
    return [
        held | {"instruments": held["instruments"][: result.instrument_count]}
        for result, (_, held) in zip(results, made, strict=True)
    ]
