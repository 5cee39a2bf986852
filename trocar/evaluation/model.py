"""One way to ask a checkpoint or a bundle for labels, so that both are scored alike.

predictor = open_predictor(Path("model.trocar"))
prediction = predictor.predict(frame)          # labels at network size
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import MANIFEST
from trocar.contract.errors import BundleError, CheckpointError
from trocar.contract.manifest import Manifest

Infer = Callable[[NDArray[np.uint8]], "dict[str, NDArray[Any]]"]
"""Frames uint8 ``[N, H, W, 3]`` RGB to the graph's outputs by name."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A model that is ready to be asked.

    Attributes:
        manifest: What the model is.
        infer: The frame-in graph.
        backend: What runs it: ``torch`` for checkpoints.
        device: e.g. ``cpu``.
        precision: e.g. ``fp32``.
    """

    manifest: Manifest
    infer: Infer
    backend: str
    device: str
    precision: str

    def about(self, path: Path) -> dict[str, Any]:
        """What an evaluation says of the model, as JSON; ``path`` is what it was opened from."""
        return {
            "path": str(path),
            "name": self.manifest.name,
            "method": self.manifest.method,
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "source": dict(self.manifest.source),
        }

    def predict(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Labels and confidence of one frame, enlarged to the frame's size.

        Args:
            frame: ``[H, W, 3]`` uint8 RGB.

        Returns:
            ``[H, W]`` uint8 class ids and ``[H, W]`` float32 confidences 0..1.
        """
        outputs = self.infer(frame[None])
        size = frame.shape[:2]
        labels = enlarge(outputs["labels"][0], size)
        confidence = enlarge(outputs["confidence"][0].astype(np.float32), size)
        if outputs["confidence"].dtype == np.uint8:
            confidence = confidence / np.float32(255)
        return labels, confidence


def enlarge(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resizes a map to ``(height, width)`` by the nearest pixel centre."""
    if array.shape[:2] == size:
        return array
    return np.asarray(cv2.resize(array, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def open_predictor(path: Path, *, device: str = "cpu", task: str | None = None) -> Predictor:
    """Opens a bundle (a folder with a manifest), a run folder or a checkpoint file.

    Args:
        path: What to open.
        device: ``cpu`` or ``cuda[:n]``.
        task: The task that is wanted; ``None`` takes any.

    Raises:
        BundleError: It is a bundle of another task, or one that does not open.
        CheckpointError: It is neither a bundle nor a run nor a checkpoint.
    """
    if not path.exists():
        raise CheckpointError(
            f"there is no {path}", remedy="name a bundle, a run folder or a checkpoint file"
        )
    made = _from_bundle(path, device) if (path / MANIFEST).is_file() else _from_run(path, device)
    if task is not None and made.manifest.task != task:
        raise BundleError(
            f"{path} is a {made.manifest.task} model; a {task} model is wanted here",
            remedy="name another model",
        )
    return made


def _from_bundle(path: Path, device: str) -> Predictor:
    from trocar.runtime import Session

    session = Session.open(path, device=device)
    return Predictor(
        manifest=session.manifest,
        infer=session.infer,
        backend=session.backend,
        device=session.device,
        precision=session.precision,
    )


def _from_run(path: Path, device: str) -> Predictor:
    import torch

    from trocar.export.graph.frame_graph import FrameGraph
    from trocar.train.state.checkpoint import load_deployable

    network, manifest = load_deployable(path)
    graph = FrameGraph(network, manifest).eval().to(device)

    def infer(frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            outputs = graph(torch.from_numpy(np.ascontiguousarray(frames)).to(device))
        names = (
            ("labels", "confidence") if manifest.task == "segmentation" else ("scores", "embedding")
        )
        return {n: o.cpu().numpy() for n, o in zip(names, outputs, strict=False)}

    return Predictor(
        manifest=manifest, infer=infer, backend="torch", device=device, precision="fp32"
    )
