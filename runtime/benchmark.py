"""Every backend and precision that this machine can give a bundle, timed on the same frames.

    for row in benchmark(Path("model.trocar"), frame=(1080, 1920)): print(row)

What cannot run stands in the table as well, with its reason.
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
from trocar.runtime.devices import cuda_count
from trocar.runtime.golden import read_golden
from trocar.runtime.session import Session
from trocar.runtime.telemetry.latency import Histogram


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to run a bundle.

    Attributes:
        backend: Its name.
        device: Where.
        precision: What the arithmetic is.
        megabytes: Of the model file.
        p50: Milliseconds a frame, batch 1, labels in host memory.
        p95: Likewise.
        p99: Likewise.
        fps: Frames a second, one after the other.
        equal: Share of the golden frame's pixels (or, for classifiers, 1 or 0 for its class) that
            come out as the exporter's.
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
    frame: tuple[int, int] | None = None,
    seconds: float = 3.0,
    threads: int | None = None,
) -> Iterator[Row]:
    """Times every backend; gives each row when it is done.

    Args:
        path: The bundle.
        frame: ``(height, width)`` of the frames; default: the golden frame's.
        seconds: Time for each row.
        threads: CPU threads.

    Raises:
        BundleError: The bundle cannot be opened.
    """
    bundle = open_bundle(path)
    golden = read_golden(bundle.read(GOLDEN), bundle.manifest.task)
    image = golden["frame"]
    if frame is not None:
        image = cv2.resize(image, (frame[1], frame[0]), interpolation=cv2.INTER_LINEAR)
    for way in _ways(bundle):
        try:
            yield _timed(bundle, way, image, golden, seconds, threads)
        except TrocarError as error:
            yield Row(
                backend=way.name, device=way.device, precision=way.precision, reason=error.message
            )


@dataclass(frozen=True)
class _Way:
    backend: str
    device: str
    precision: str
    graphs: bool | None = None
    """Whether CUDA graphs are recorded, where that can be chosen."""

    @property
    def name(self) -> str:
        """The backend; with its graphs, where they are not what it does of its own accord."""
        usual = self.backend.startswith("tensorrt")
        if self.graphs is None or self.graphs == usual:
            return self.backend
        return f"{self.backend}, {'CUDA graph' if self.graphs else 'no CUDA graph'}"


def _ways(bundle: Bundle) -> list[_Way]:
    held = bundle.manifest.precision
    ways = [_Way("onnxruntime", "cpu", held), _Way("openvino", "cpu", held)]
    if held == "fp32":
        ways.append(_Way("openvino", "cpu", "bf16"))
    for index in range(max(1, cuda_count()[0])):
        for backend in ("onnxruntime", "tensorrt", "tensorrt-rtx"):
            for graphs in (False, True):
                ways.append(_Way(backend, f"cuda:{index}", held, graphs))
    return ways


def _timed(
    bundle: Bundle,
    way: _Way,
    image: NDArray[np.uint8],
    golden: dict[str, NDArray[Any]],
    seconds: float,
    threads: int | None,
) -> Row:
    own: dict[str, Any] = {} if way.graphs is None else {"graphs": way.graphs}
    session = Session.open(
        bundle.path,
        device=way.device,
        backend=way.backend,
        precision=way.precision,
        threads=threads,
        **own,
    )
    with session:
        equal = _equal(session.infer(golden["frame"][None]), golden)
        batch = np.ascontiguousarray(image[None])
        for _ in range(3):
            session.infer(batch)
        times = Histogram()
        started = monotonic()
        while monotonic() - started < seconds or times.count < 5:
            begun = monotonic_ns()
            session.infer(batch)
            times.record((monotonic_ns() - begun) / 1e6)
        elapsed = monotonic() - started
        return Row(
            backend=way.name,
            device=session.device,
            precision=session.precision,
            megabytes=round(bundle.model.stat().st_size / 1e6, 1),
            p50=round(times.percentile(50), 2),
            p95=round(times.percentile(95), 2),
            p99=round(times.percentile(99), 2),
            fps=round(times.count / elapsed, 1),
            equal=equal,
        )


def _equal(given: dict[str, NDArray[Any]], golden: dict[str, NDArray[Any]]) -> float:
    if "labels" in golden:
        return float((given["labels"][0] == golden["labels"]).mean())
    return float(given["scores"][0].argmax() == golden["scores"].argmax())
