"""The live loop of libtrocar: its thread infers the newest frame without an interpreter.

with NativeLive(Path("model.trocar"), library=library, size=(1080, 1920)) as live:
    live.submit(frame)                     # uint8 [1080, 1920, 3], from the camera's thread
    result = live.wait(seconds=0.1)        # a FrameResult, or None
"""

from __future__ import annotations

import ctypes as c
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError, MissingExtraError, TrocarError
from trocar.contract.media.clock import now_ns
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.native import structs

STATES = ("WAITING", "RUNNING", "STALE", "FAULT")
"""By number, as in ``live.h``."""

_CLASSIFICATION = 1
_LABELS = 1
_ORDERS = {"newest": 0, "next": 1}


@dataclass(frozen=True, kw_only=True)
class LiveCounts:
    """State and counts of a live loop.

    Attributes:
        state: One of `STATES`.
        submitted: Frames that were submitted.
        processed: Frames with a result.
        dropped: Frames that a newer one replaced before the model took them.
        failed: Frames whose run failed.
        unkept: Results that found no place in the ring, because readers held all of it.
        result_age_ms: Age of the newest result in milliseconds; ``None`` without one.
        frame_age_ms: Milliseconds since the last submission; ``None`` without one.
        run_ms: Milliseconds that the current run has taken so far; 0 without one.
        error: Why the last run that failed did so; ``None`` where none has.
    """

    state: str
    submitted: int
    processed: int
    dropped: int
    failed: int
    unkept: int
    result_age_ms: float | None
    frame_age_ms: float | None
    run_ms: float
    error: TrocarError | None


class NativeLive:
    """A session of libtrocar with a live loop.

    One thread submits frames; any number of threads reads, each with numbers of its own. Close it
    after all of them.

    Args:
        path: The bundle.
        library: ``libtrocar.so``, e.g. `trocar.native_library.find_native` ``().library``.
        size: ``(height, width)`` of the frames; they are warm when this returns.
        onnxruntime: ONNX Runtime's library; default: that of its Python package.
        spin: Whether the thread spins while it waits for a frame.
        labels: Whether label maps are kept.
        max_instruments: Of a frame that are kept.
        ring: Results that are kept, 3 to 256.
        max_age_ms: Age from which on the newest result is stale.
        options: Further members of ``trocar_options``: texts or numbers.

    Raises:
        MissingExtraError: A library cannot be loaded.
        ArgumentError: An argument is out of range.
        BundleError: The bundle cannot be opened; also the other errors of `Session.open`.
    """

    def __init__(
        self,
        path: Path,
        *,
        library: Path,
        size: tuple[int, int],
        onnxruntime: Path | None = None,
        spin: bool = False,
        labels: bool = True,
        max_instruments: int = 64,
        ring: int = 8,
        max_age_ms: float = 200.0,
        **options: str | int | float,
    ) -> None:
        self._api = structs.load(library)
        self._session, self._live = c.c_void_p(), c.c_void_p()
        found = onnxruntime or _onnxruntime_library()
        texts = {k: v.encode() if isinstance(v, str) else v for k, v in options.items()}
        opening = structs.sized(structs.Options, **{"library": str(found).encode(), **texts})
        try:
            structs.check(
                self._api.trocar_session_open,
                str(path).encode(),
                c.byref(opening),
                c.byref(self._session),
            )
            self._info = structs.sized(structs.Info)
            structs.check(self._api.trocar_session_info, self._session, c.byref(self._info))
            self._is_classifier = self._info.task == _CLASSIFICATION
            self._has_labels = labels and not self._is_classifier
            self._max_instruments = max_instruments
            self._names = [self._class(row) for row in range(self._info.class_count)]
            live_options = structs.sized(
                structs.LiveOptions,
                height=size[0],
                width=size[1],
                spin=int(spin),
                outputs=_LABELS if self._has_labels else 0,
                max_instruments=max_instruments,
                ring=ring,
                max_age_ms=max_age_ms,
            )
            structs.check(
                self._api.trocar_live_open,
                self._session,
                c.byref(live_options),
                c.byref(self._live),
            )
        except BaseException:
            self.close()
            raise
        self._started_ns = self._api.trocar_live_now()
        self._seen = 0

    def submit(self, frame: NDArray[np.uint8], *, captured_ns: int | None = None) -> int:
        """Hands in a frame, which is copied; it never waits for the model.

        Args:
            frame: RGB, uint8 ``[H, W, 3]``.
            captured_ns: When it was captured, by `now_ns`; default: now.

        Returns:
            Number of the frame, from 0.

        Raises:
            ArgumentError: It is no such frame.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ArgumentError(
                f"the frame is {frame.dtype} {list(frame.shape)}, expected uint8 [H, W, 3]",
                remedy="pass an RGB picture",
            )
        held = np.ascontiguousarray(frame)
        given = structs.sized(
            structs.Frame,
            height=held.shape[0],
            width=held.shape[1],
            data=held.ctypes.data,
            data_bytes=held.nbytes,
        )
        number = c.c_uint64()
        then = 0 if captured_ns is None else max(1, captured_ns - self._clock_difference())
        structs.check(
            self._api.trocar_live_submit,
            self._live,
            c.byref(given),
            c.c_int64(then),
            c.byref(number),
        )
        return number.value - 1

    def read(self, *, order: str = "newest") -> FrameResult | None:
        """The newest result that was not read yet, or the next one; ``None`` without one.

        Args:
            order: ``newest`` for a display, ``next`` for a log of all.

        Raises:
            ArgumentError: There is no such order.
        """
        if order not in _ORDERS:
            raise ArgumentError(
                f"the order is {order!r}, expected newest or next", remedy="use one of these"
            )
        result, held = self._room()
        about = structs.sized(structs.LiveResult)
        structs.check(
            self._api.trocar_live_read,
            self._live,
            c.c_uint64(self._seen),
            c.c_int32(_ORDERS[order]),
            c.byref(about),
            c.byref(result),
        )
        if about.number == 0:
            return None
        self._seen = about.number
        return self._frame_result(about, result, held)

    def wait(self, *, seconds: float, order: str = "newest") -> FrameResult | None:
        """Waits for a result that was not read yet; ``None`` when the time is over."""
        self._api.trocar_live_wait(self._live, self._seen, 1000 * seconds)
        return self.read(order=order)

    def counts(self) -> LiveCounts:
        """State and counts at this moment. Any thread may call it."""
        status = structs.sized(structs.LiveStatus)
        structs.check(self._api.trocar_live_get_status, self._live, c.byref(status))
        return LiveCounts(
            state=STATES[status.state],
            submitted=status.submitted,
            processed=status.processed,
            dropped=status.dropped,
            failed=status.failed,
            unkept=status.unkept,
            result_age_ms=None if status.result_age_ms < 0 else status.result_age_ms,
            frame_age_ms=None if status.frame_age_ms < 0 else status.frame_age_ms,
            run_ms=status.run_ms,
            error=structs.error_of(status.error_code, status.message, status.remedy)
            if status.error_code
            else None,
        )

    def close(self) -> None:
        """Ends the thread and closes the session; it may be called twice."""
        self._api.trocar_live_close(self._live)
        self._live = c.c_void_p()
        self._api.trocar_session_close(self._session)
        self._session = c.c_void_p()

    def __enter__(self) -> NativeLive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _class(self, row: int) -> tuple[str, str]:
        """Name and type of a row; they are the session's, so they are copied."""
        found = structs.sized(structs.ClassRow)
        structs.check(self._api.trocar_session_class, self._session, c.c_int32(row), c.byref(found))
        return found.name.decode(), found.type.decode()

    def _clock_difference(self) -> int:
        """What `now_ns` is ahead of the loop's clock."""
        return now_ns() - int(self._api.trocar_live_now())

    def _room(self) -> tuple[Any, dict[str, Any]]:
        result = structs.sized(structs.Result)
        held: dict[str, Any] = {}
        if self._is_classifier:
            held["scores"] = np.zeros(self._info.score_count, np.float32)
            held["embedding"] = np.zeros(self._info.embedding_count, np.float32)
            for name, capacity in (("scores", "score"), ("embedding", "embedding")):
                setattr(result, name, held[name].ctypes.data_as(c.POINTER(c.c_float)))
                setattr(result, f"{capacity}_capacity", held[name].size)
            return result, held
        held["instruments"] = (structs.Instrument * self._max_instruments)()
        result.instruments = held["instruments"]
        result.instrument_capacity = self._max_instruments
        result.instrument_size = c.sizeof(structs.Instrument)
        if self._has_labels:
            shape = (self._info.network_height, self._info.network_width)
            held["labels"] = np.zeros(shape, np.uint8)
            result.labels = held["labels"].ctypes.data_as(c.POINTER(c.c_uint8))
            result.label_bytes = held["labels"].nbytes
        return result, held

    def _frame_result(self, about: Any, result: Any, held: dict[str, Any]) -> FrameResult:
        scores = held.get("scores")
        embedding = held.get("embedding")
        return FrameResult(
            frame_id=about.frame - 1,
            time=max(0, about.captured_ns - self._started_ns) / 1e9,
            captured_ns=about.captured_ns + self._clock_difference(),
            age_ms=(about.finished_ns - about.captured_ns) / 1e6,
            frame_size=(about.height, about.width),
            labels=held.get("labels"),
            instruments=tuple(
                self._instrument(one)
                for one in held.get("instruments", ())[: result.instrument_count]
            ),
            scores=scores,
            embedding=embedding if embedding is not None and embedding.size else None,
            backend=self._info.backend.decode(),
            device=self._info.device.decode(),
            precision=self._info.precision.decode(),
            stages_ms={
                "convert": result.convert_ms,
                "infer": result.infer_ms,
                "locate": result.locate_ms,
            },
        )

    def _instrument(self, found: Any) -> Instrument:
        name, kind = self._names[found.class_id]
        return Instrument(
            class_id=found.class_id,
            class_name=kind if found.joined else name,
            score=found.score,
            box=tuple(found.box),
            centroid=tuple(found.centroid),
            area=found.area,
            axis=tuple(found.axis),
            angle=found.angle,
            tips=tuple((tip[0], tip[1]) for tip in found.tips[: found.tip_count]),
            entry=tuple(found.entry) if found.has_entry else None,
            touches_border=bool(found.touches_border),
            instance=found.instance or None,
        )


def _onnxruntime_library() -> Path:
    """The library inside of ONNX Runtime's Python package, which is not imported."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        for path in sorted(Path(folder, "capi").glob("libonnxruntime.so*")):
            return path
    raise MissingExtraError(
        "ONNX Runtime's Python package has no libonnxruntime.so",
        remedy="pip install onnxruntime, or name its library",
    )
