"""The backends, devices and precisions of this machine, each with the frame that it is timed on.

for case in cases(Path("model.trocar"), size=(1080, 1920)):
    with opened(case, threads=None) as session:
        session.infer(case.batch())
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import GOLDEN, Bundle, open_bundle
from trocar.contract.errors import ArgumentError, BackendError
from trocar.contract.media.nv12 import nv12_from_rgb
from trocar.contract.signatures.signed_bundle import verify_bundle
from trocar.runtime.devices import cuda_count
from trocar.runtime.golden import read_golden
from trocar.runtime.inference import Frames
from trocar.runtime.session import Session


@dataclass(frozen=True, kw_only=True)
class Case:
    """One backend, device and precision that may run a bundle here.

    Attributes:
        bundle: The bundle.
        backend: Name of the backend.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: e.g. ``fp32``.
        image: The frame, uint8 ``[H, W, 3]``.
        golden: The exporter's frame and outputs by name.
        graphs: Whether CUDA graphs are recorded, where that can be chosen.
        nv12: Whether the frame is given as NV12.
    """

    bundle: Bundle
    backend: str
    device: str
    precision: str
    image: NDArray[np.uint8]
    golden: dict[str, NDArray[Any]]
    graphs: bool | None = None
    nv12: bool = False

    def batch(self) -> Frames:
        """The frame as a batch of its own memory."""
        if self.nv12:
            return [nv12_from_rgb(self.image, "bt709-limited")]
        return np.array(self.image[None])

    @property
    def name(self) -> str:
        """The backend, and whether it uses CUDA graphs where that is not its default."""
        default = self.backend.startswith("tensorrt")
        if self.graphs is None or self.graphs == default:
            return self.backend
        return f"{self.backend}, {'CUDA graph' if self.graphs else 'no CUDA graph'}"


def cases(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    trust: Path | None = None,
    nv12: bool = False,
) -> Iterator[Case]:
    """What may run a bundle on this machine.

    Args:
        path: The bundle.
        size: ``(height, width)`` of the frame; ``None``: the golden frame's.
        trust: What must have signed the bundle, see `Session.open`; ``None``: nothing.
        nv12: Whether the frame is given as NV12.

    Raises:
        ArgumentError: The bundle has no graph for NV12.
        BundleError: The bundle cannot be opened; also `IntegrityError`.
    """
    bundle = open_bundle(path)
    if nv12 and not bundle.manifest.takes_nv12:
        raise ArgumentError(
            f"{path} has no graph for NV12 frames",
            remedy="export it with --nv12, or time it with RGB frames",
        )
    if trust is not None:
        verify_bundle(bundle, trust)
    golden = read_golden(bundle.read(GOLDEN), bundle.manifest.task)
    image = golden["frame"]
    if size is not None:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    for backend, device, precision, graphs in _variants(bundle.manifest.precision):
        yield Case(
            bundle=bundle,
            backend=backend,
            device=device,
            precision=precision,
            image=image,
            golden=golden,
            graphs=graphs,
            nv12=nv12,
        )


def _variants(precision: str) -> Iterator[tuple[str, str, str, bool | None]]:
    yield "onnxruntime", "cpu", precision, None
    yield "openvino", "cpu", precision, None
    if precision == "fp32":
        yield "openvino", "cpu", "bf16", None
    for index in range(max(1, cuda_count()[0])):
        for backend in ("onnxruntime", "tensorrt", "tensorrt-rtx"):
            for graphs in (False, True):
                yield backend, f"cuda:{index}", precision, graphs


def opened(case: Case, *, threads: int | None) -> Session:
    """Opens a session of a case; the caller closes it.

    Args:
        case: The case.
        threads: CPU threads; ``None``: one for each usable core.

    Raises:
        BackendError: The case cannot run here; also `MissingExtraError`.
    """
    backend_options: dict[str, Any] = {}
    if case.graphs is not None:
        backend_options["graphs"] = case.graphs
    session = Session.open(
        case.bundle.path,
        device=case.device,
        backend=case.backend,
        precision=case.precision,
        threads=threads,
        nv12=case.nv12,
        **backend_options,
    )
    if case.nv12 and not session.takes_nv12:
        session.close()
        raise BackendError(
            f"{case.name} has no graph for NV12 and converts the frames",
            remedy="time it with RGB frames",
        )
    return session
