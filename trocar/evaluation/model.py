"""Opens a checkpoint or a bundle behind one interface, so that both are scored in the same way.

predictor = open_predictor(Path("model.trocar"))
labels, confidence = predictor.predict(frame)      # both [H,W], at the size of the frame
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import MANIFEST
from trocar.contract.errors import BundleError, CheckpointError, ConfigError
from trocar.contract.manifest import Manifest
from trocar.contract.media.label_maps import enlarge

if TYPE_CHECKING:
    from torch import nn

    from trocar.runtime.session import Session

Infer = Callable[[NDArray[np.uint8]], "dict[str, NDArray[Any]]"]
"""Frames uint8 ``[N, H, W, 3]`` RGB to the graph's outputs by name."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A model that is ready for inference.

    Attributes:
        manifest: What the model is.
        infer: The frame-in graph.
        backend: Library that runs it; ``torch`` for checkpoints.
        device: e.g. ``cpu``.
        precision: e.g. ``fp32``.
        opened: The bundle's session; ``None`` for checkpoints.
    """

    manifest: Manifest
    infer: Infer
    backend: str
    device: str
    precision: str
    opened: Session | None = None

    def session(self) -> Session:
        """The model as the runtime takes it, to locate and track instruments."""
        from trocar.runtime.session import Session

        return self.opened or Session(_Checkpoint(self), self.manifest)

    def metadata(self, path: Path) -> dict[str, Any]:
        """JSON-ready description of the model; ``path`` is the path that it was opened from."""
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
        if "confidence" not in outputs:
            return labels, np.ones(size, np.float32)
        confidence = enlarge(outputs["confidence"][0].astype(np.float32), size)
        if outputs["confidence"].dtype == np.uint8:
            confidence = confidence / np.float32(255)
        return labels, confidence


def open_predictor(path: Path, *, device: str = "cpu", task: str | None = None) -> Predictor:
    """Opens a bundle (a folder with a manifest), a run folder or a checkpoint file.

    Args:
        path: What to open.
        device: ``cpu`` or ``cuda[:n]``.
        task: The task that the model must have; ``None``: any.

    Raises:
        BundleError: The bundle does not open, or the model has another task.
        CheckpointError: The path is no bundle, no run folder and no checkpoint.
        ConfigError: A run of an instance model is asked for on another device than the CPU.
    """
    if not path.exists():
        raise CheckpointError(
            f"there is no {path}", remedy="name a bundle, a run folder or a checkpoint file"
        )
    is_bundle = (path / MANIFEST).is_file()
    predictor = _from_bundle(path, device) if is_bundle else _from_run(path, device)
    if task is not None and predictor.manifest.task != task:
        raise BundleError(
            f"{path} is a {predictor.manifest.task} model; expected a {task} model",
            remedy=f"name a {task} model",
        )
    return predictor


def _from_bundle(path: Path, device: str) -> Predictor:
    from trocar.runtime.session import Session

    session = Session.open(path, device=device)
    return Predictor(
        manifest=session.manifest,
        infer=session.infer,
        backend=session.backend,
        device=session.device,
        precision=session.precision,
        opened=session,
    )


class _Checkpoint:
    """A predictor as a backend of the runtime."""

    def __init__(self, predictor: Predictor) -> None:
        self.name = predictor.backend
        self.device = predictor.device
        self.precision = predictor.precision
        self._infer = predictor.infer

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return self._infer(frames)

    def close(self) -> None:
        pass


def _from_run(path: Path, device: str) -> Predictor:
    import torch

    from trocar.export.graph.frame_graph import FrameGraph
    from trocar.train.state.checkpoint import load_deployable

    network, manifest = load_deployable(path)
    if manifest.task == "instances":
        return _instances_from_run(network, manifest, path, device)
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


def _instances_from_run(
    network: nn.Module, manifest: Manifest, path: Path, device: str
) -> Predictor:
    """An instance network in PyTorch; NumPy assembles its instances, as in the parity gate."""
    from trocar.export.graph.instances.from_torch import instance_reference

    if device != "cpu":
        raise ConfigError(
            f"{path} is a run of an instance model, which is scored on the CPU only, not on "
            f"{device}",
            remedy="leave --device out, or export the run and score the bundle",
        )
    reference = instance_reference(network, manifest)
    return Predictor(
        manifest=manifest,
        infer=lambda frames: dict(reference(frames)),
        backend="torch",
        device=device,
        precision="fp32",
    )
