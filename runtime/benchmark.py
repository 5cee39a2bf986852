"""Times every backend and precision of this machine on the same frame.

    for row in benchmark(Path("model.trocar"), size=(1080, 1920)):
        print(row)

A backend that cannot run has a row with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import GOLDEN, Bundle, open_bundle
from trocar.contract.errors import TrocarError
from trocar.contract.signatures.signed_bundle import verify_bundle
from trocar.runtime.devices import cuda_count
from trocar.runtime.golden import read_golden
from trocar.runtime.session import Session
from trocar.runtime.telemetry.latency import Histogram

WARM_UP = 3
"""Frames before the times are taken."""

MIN_FRAMES = 5
"""Frames that are timed at least, also when they take longer than the seconds of a row."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """Times of one backend, device and precision.

    Attributes:
        backend: Its name.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: What the arithmetic is, e.g. ``fp32``.
        megabytes: Size of the model file, in 10⁶ bytes.
        p50: Median milliseconds of a frame, batch 1, labels in host memory.
        p95: 95th percentile in milliseconds.
        p99: 99th percentile in milliseconds.
        fps: Frames a second, one after the other.
        equal: Fraction 0..1 of the golden frame's pixels that get the exporter's class; for
            classifiers 1 when the frame gets the exporter's class, else 0.
        reason: Why it did not run; empty when it did.
    """

    backend: str
    device: str
    precision: str
    megabytes: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    fps: float = 0.0
    equal: float = 0.0
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def benchmark(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    threads: int | None = None,
    trust: Path | None = None,
) -> Iterator[BenchmarkRow]:
    """Times every backend; yields each row when it is done.

    Args:
        path: The bundle.
        size: ``(height, width)`` of the frames; default: the golden frame's.
        seconds: Seconds for each row.
        threads: CPU threads; default: one for each usable core.
        trust: What must have signed the bundle, see `Session.open`.

    Raises:
        BundleError: The bundle cannot be opened; also `IntegrityError`.
    """
    bundle = open_bundle(path)
    if trust is not None:
        verify_bundle(bundle, trust)
    golden = read_golden(bundle.read(GOLDEN), bundle.manifest.task)
    image = golden["frame"]
    if size is not None:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    for variant in _variants(bundle):
        try:
            yield _timed(
                bundle, variant, image=image, golden=golden, seconds=seconds, threads=threads
            )
        except TrocarError as error:
            yield BenchmarkRow(
                backend=variant.name,
                device=variant.device,
                precision=variant.precision,
                reason=error.message,
            )


@dataclass(frozen=True)
class _Variant:
    backend: str
    device: str
    precision: str
    graphs: bool | None = None
    """Whether CUDA graphs are recorded, where that can be chosen."""

    @property
    def name(self) -> str:
        """The backend, and whether it uses CUDA graphs where that is not its default."""
        default = self.backend.startswith("tensorrt")
        if self.graphs is None or self.graphs == default:
            return self.backend
        return f"{self.backend}, {'CUDA graph' if self.graphs else 'no CUDA graph'}"


def _variants(bundle: Bundle) -> list[_Variant]:
    precision = bundle.manifest.precision
    variants = [_Variant("onnxruntime", "cpu", precision), _Variant("openvino", "cpu", precision)]
    if precision == "fp32":
        variants.append(_Variant("openvino", "cpu", "bf16"))
    for index in range(max(1, cuda_count()[0])):
        for backend in ("onnxruntime", "tensorrt", "tensorrt-rtx"):
            for graphs in (False, True):
                variants.append(_Variant(backend, f"cuda:{index}", precision, graphs))
    return variants


def _timed(
    bundle: Bundle,
    variant: _Variant,
    *,
    image: NDArray[np.uint8],
    golden: dict[str, NDArray[Any]],
    seconds: float,
    threads: int | None,
) -> BenchmarkRow:
    backend_options: dict[str, Any] = {}
    if variant.graphs is not None:
        backend_options["graphs"] = variant.graphs
    session = Session.open(
        bundle.path,
        device=variant.device,
        backend=variant.backend,
        precision=variant.precision,
        threads=threads,
        **backend_options,
    )
    with session:
        equal = _equal(session.infer(golden["frame"][None]), golden)
        batch = np.ascontiguousarray(image[None])
        for _ in range(WARM_UP):
            session.infer(batch)
        times = Histogram()
        started = monotonic()
        while monotonic() - started < seconds or times.count < MIN_FRAMES:
            begun = monotonic_ns()
            session.infer(batch)
            times.record((monotonic_ns() - begun) / 1e6)
        elapsed = monotonic() - started
        return BenchmarkRow(
            backend=variant.name,
            device=session.device,
            precision=session.precision,
            megabytes=round(bundle.model.stat().st_size / 1e6, 1),
            p50=round(times.percentile(50), 2),
            p95=round(times.percentile(95), 2),
            p99=round(times.percentile(99), 2),
            fps=round(times.count / elapsed, 1),
            equal=equal,
        )


def _equal(outputs: dict[str, NDArray[Any]], golden: dict[str, NDArray[Any]]) -> float:
    if "labels" in golden:
        return float((outputs["labels"][0] == golden["labels"]).mean())
    return float(outputs["scores"][0].argmax() == golden["scores"].argmax())
