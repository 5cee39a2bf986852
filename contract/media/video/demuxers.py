"""Which formats of FFmpeg may read a file whose content is not known.

av.open("file:v.mp4", options=safe_options())

FFmpeg takes text for a picture (``tty``), and opens what a playlist names: other files and
addresses. A recording is neither. Both are left out, unless a format is asked for by name.
"""

from __future__ import annotations

import functools
from pathlib import Path

import av

from trocar.contract.media.video.truncation import why_cut

_REFUSED = frozenset(
    {
        # Lists of other files and addresses.
        *("concat", "concatf", "hls", "applehttp", "dash", "webm_dash_manifest", "imf", "sdp"),
        *("rtsp", "rtp", "sap", "lavfi", "avisynth", "vapoursynth"),
        # Text and character graphics.
        *("tty", "adf", "bin", "idf", "xbin"),
    }
)
_PLAYLISTS = ((b"ffconcat", "concat"), (b"#EXTM3U", "hls"))


class NotARecordingError(LookupError):
    """A file is a text or a playlist, or was cut so that it cannot be opened.

    Attributes:
        remedy: What the user can do.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@functools.cache
def safe_options() -> dict[str, str]:
    """FFmpeg's options that let it open recordings only, not texts and playlists."""
    names: list[str] = []
    for name in sorted(av.formats_available):
        try:
            found = av.format.ContainerFormat(name, "r")
        except ValueError:  # It writes only.
            continue
        if not _REFUSED.intersection(found.name.split(",")):
            names.append(found.name)
    return {"format_whitelist": ",".join(dict.fromkeys(names)), "protocol_whitelist": "file"}


def why_refused(file: Path) -> NotARecordingError | None:
    """What a file is that FFmpeg did not open with `safe_options`; ``None`` if it is neither."""
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return None
    for start, kind in _PLAYLISTS:
        if head.lstrip(b"\xef\xbb\xbf \r\n").startswith(start):
            return NotARecordingError(
                f"is a playlist ({kind}) and no recording: it names other files",
                remedy="name the recordings themselves; --format "
                f"{kind} plays a playlist that you trust",
            )
    if head and not any(byte < 9 or 13 < byte < 27 or byte == 127 for byte in head):
        return NotARecordingError("is a text and no recording", remedy="name a video file")
    return None


def why_lost(file: Path | None) -> NotARecordingError | None:
    """What a file lacks that FFmpeg cannot open, or in which it finds no video.

    Returns:
        ``None`` where it is not known to be cut, and where ``file`` is ``None``: no file.
    """
    try:
        lacks = "" if file is None else why_cut(file)
    except OSError:
        return None
    if not lacks:
        return None
    return NotARecordingError(
        f"is damaged and cannot be opened: {lacks}",
        remedy="copy the video again; where the recorder was interrupted, repair it with its tools",
    )
