"""The structs of ``trocar.h`` and ``live.h`` for ctypes, and errors made of theirs.

library = load(Path("libtrocar.so"))
check(library.trocar_live_submit, live, ctypes.byref(frame), 0, None)
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trocar.contract import errors
from trocar.contract.errors import MissingExtraError, TrocarError

ABI = 0
"""Binary interface of the library that this module fits."""

_BYTES, _FLOATS = c.POINTER(c.c_uint8), c.POINTER(c.c_float)


def _struct(title: str, /, **fields: Any) -> type[c.Structure]:
    """A struct of the C interface; every one begins with its size."""
    return type(title, (c.Structure,), {"_fields_": [("size", c.c_uint32), *fields.items()]})


def sized(kind: type[c.Structure], /, **values: Any) -> Any:
    """A struct with its size set and all other members zero, but those given."""
    return kind(size=c.sizeof(kind), **values)


Error = _struct("Error", code=c.c_int32, message=c.c_char * 1024, remedy=c.c_char * 512)
Options = _struct(
    "Options", threads=c.c_int32, backend=c.c_char_p, device=c.c_char_p, provider=c.c_char_p,
    precision=c.c_char_p, library=c.c_char_p, no_spinning=c.c_int32, min_pixels=c.c_int32,
    min_area=c.c_double, log=c.c_void_p, log_context=c.c_void_p, min_score=c.c_double,
    max_instruments=c.c_int32, reserved=c.c_int32, classes=c.c_char_p, location=c.c_char_p,
    trust=c.c_char_p, frame_width=c.c_int32, frame_height=c.c_int32,
)  # fmt: skip
Info = _struct(
    "Info", task=c.c_int32, network_width=c.c_int32, network_height=c.c_int32,
    class_count=c.c_int32, score_count=c.c_int32, embedding_count=c.c_int32, golden=c.c_int32,
    name=c.c_char_p, method=c.c_char_p, backend=c.c_char_p, device=c.c_char_p,
    precision=c.c_char_p, library=c.c_char_p,
)  # fmt: skip
ClassRow = _struct(
    "ClassRow", id=c.c_int32, colour=c.c_uint8 * 3, grey=c.c_uint8, instrument=c.c_int32,
    name=c.c_char_p, type=c.c_char_p, part=c.c_char_p,
)  # fmt: skip
Frame = _struct(
    "Frame", format=c.c_int32, width=c.c_int32, height=c.c_int32, data=c.c_void_p,
    stride=c.c_ssize_t, chroma=c.c_void_p, chroma_stride=c.c_ssize_t, yuv=c.c_int32,
    reserved=c.c_int32, view=c.c_double * 3, data_bytes=c.c_size_t, chroma_bytes=c.c_size_t,
)  # fmt: skip
Instrument = _struct(
    "Instrument", class_id=c.c_int32, touches_border=c.c_int32, has_entry=c.c_int32,
    tip_count=c.c_int32, joined=c.c_int32, score=c.c_double, box=c.c_double * 4,
    centroid=c.c_double * 2, area=c.c_double, axis=c.c_double * 2, angle=c.c_double,
    tips=(c.c_double * 2) * 2, entry=c.c_double * 2, instance=c.c_int32, reserved=c.c_int32,
)  # fmt: skip
Result = _struct(
    "Result", label_size=c.c_int32, labels=_BYTES, label_stride=c.c_ssize_t,
    label_bytes=c.c_size_t, confidence=_FLOATS, confidence_capacity=c.c_size_t,
    instruments=c.POINTER(Instrument), instrument_capacity=c.c_uint32,
    instrument_size=c.c_uint32, scores=_FLOATS, score_capacity=c.c_size_t, embedding=_FLOATS,
    embedding_capacity=c.c_size_t, instrument_count=c.c_uint32, instrument_total=c.c_uint32,
    label_width=c.c_int32, label_height=c.c_int32, convert_ms=c.c_double, infer_ms=c.c_double,
    locate_ms=c.c_double, instrument_map=_BYTES, instrument_map_stride=c.c_ssize_t,
    instrument_map_bytes=c.c_size_t, instance_count=c.c_int32, reserved=c.c_int32,
)  # fmt: skip
LiveOptions = _struct(
    "LiveOptions", width=c.c_int32, height=c.c_int32, format=c.c_int32, spin=c.c_int32,
    outputs=c.c_int32, max_instruments=c.c_uint32, ring=c.c_uint32, max_age_ms=c.c_double,
)  # fmt: skip
LiveResult = _struct(
    "LiveResult", width=c.c_int32, height=c.c_int32, reserved=c.c_int32, number=c.c_uint64,
    frame=c.c_uint64, captured_ns=c.c_int64, submitted_ns=c.c_int64, started_ns=c.c_int64,
    finished_ns=c.c_int64, age_ms=c.c_double,
)  # fmt: skip
LiveStatus = _struct(
    "LiveStatus", state=c.c_int32, submitted=c.c_uint64, processed=c.c_uint64,
    dropped=c.c_uint64, failed=c.c_uint64, unkept=c.c_uint64, result_age_ms=c.c_double,
    frame_age_ms=c.c_double, run_ms=c.c_double, max_age_ms=c.c_double,
    failed_in_row=c.c_int32, error_code=c.c_int32, message=c.c_char * 512,
    remedy=c.c_char * 256,
)  # fmt: skip

_KINDS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TrocarError)
}


def load(path: Path) -> c.CDLL:
    """Loads a libtrocar with a live loop.

    Raises:
        MissingExtraError: It cannot be loaded, or is of another version.
    """
    remedy = (
        "install a wheel of Trocar for this machine, or build runtime/cpp and name its libtrocar.so"
    )
    try:
        library = c.CDLL(str(path))
        abi, now = library.trocar_abi_version(), library.trocar_live_now
    except (OSError, AttributeError) as error:
        raise MissingExtraError(f"{path} is no libtrocar: {error}", remedy=remedy) from error
    if abi != ABI:
        raise MissingExtraError(
            f"{path} has the binary interface {abi}, expected {ABI}", remedy=remedy
        )
    now.restype = c.c_int64
    library.trocar_live_wait.restype = c.c_uint64
    library.trocar_live_wait.argtypes = [c.c_void_p, c.c_uint64, c.c_double]
    for name in ("trocar_session_close", "trocar_live_close"):
        getattr(library, name).argtypes = [c.c_void_p]
        getattr(library, name).restype = None
    return library


def check(call: Callable[..., int], *arguments: Any) -> None:
    """Calls a function whose last argument is the error.

    Raises:
        TrocarError: What the call refused, as the class with the same code.
    """
    error = sized(Error)
    if call(*arguments, c.byref(error)):
        raise error_of(error.code, error.message, error.remedy)


def error_of(code: int, message: bytes, remedy: bytes) -> TrocarError:
    """The error of a status code."""
    kind = _KINDS.get(code, TrocarError)
    return kind(message.decode("utf-8", "replace"), remedy=remedy.decode("utf-8", "replace"))
