"""Which video stream of a file is read, and what a person should know of it.

stream, notes = choose_stream(container, None)
"""

from __future__ import annotations

from typing import Any

import av

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67


def choose_stream(container: Any, number: int | None) -> tuple[Any, list[str]]:
    """The video stream of that number among those that are no cover pictures.

    Args:
        container: An open container of PyAV.
        number: From 0; ``None``: the one that FFmpeg calls best.

    Returns:
        The stream, and notes for people: several streams, HDR.

    Raises:
        LookupError: There is no video stream, or no such one; the message lists what there is.
    """
    notes = []
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
        and stream.codec_context is not None
    ]
    if not streams:
        if any(stream.codec_context is None for stream in container.streams.video):
            raise LookupError("contains video of a codec that this build of FFmpeg does not know")
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise LookupError(f"contains no video, only {', '.join(kinds)}")
    if number is None:
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
        if len(streams) > 1:
            notes.append(
                f"holds {len(streams)} video streams ({_listed(streams)}); "
                f"took number {streams.index(stream)}"
            )
    elif 0 <= number < len(streams):
        stream = streams[number]
    else:
        raise LookupError(f"contains no video stream number {number}, only {_listed(streams)}")
    transfer = _HDR_TRANSFERS.get(int(stream.codec_context.color_trc or 0))
    if transfer:
        notes.append(f"is HDR video ({transfer}); its colours are converted without tone mapping")
    return stream, notes


def states_its_end(container: Any) -> bool:
    """Whether a container states its duration, or its server the size, as live streams do not.

    Cameras that send MJPEG state sizes that mean nothing; the size of a playlist is its own.
    """
    kinds = set(container.format.name.split(","))
    if "mpjpeg" in kinds:
        return False
    is_list = kinds & {"hls", "applehttp", "dash"}
    return (container.duration or 0) > 0 or (not is_list and container.size > 0)


def _listed(streams: list[Any]) -> str:
    return ", ".join(
        f"{number}: {s.codec_context.name} {s.codec_context.width}x{s.codec_context.height}"
        for number, s in enumerate(streams)
    )
