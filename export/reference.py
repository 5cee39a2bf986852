"""What exported models are compared with: the network in PyTorch, float32.

reference = torch_reference(network, manifest)
reference(frames)["logits"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.manifest import Manifest
from trocar.export.parity.types import Frame, Infer

if TYPE_CHECKING:
    from torch import nn


def run_bytes(data: bytes) -> Infer:
    """Runs a frame-in ONNX file with ONNX Runtime's CPU kernels; every output by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def infer(frames: Frame) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {source: frames}), strict=True))

    return infer


def torch_reference(module: nn.Module, manifest: Manifest) -> Infer:
    """Runs the network in PyTorch, float32, behind the same frame-in graph, with logits."""
    import copy

    import torch

    from trocar.export.graph.frame_graph import FrameGraph

    graph = FrameGraph(copy.deepcopy(module).cpu().float().eval(), manifest, twin=True).eval()
    names = [output.name for output in manifest.outputs]
    if manifest.task == "segmentation":
        names = [*names, "logits"]

    def infer(frames: Frame) -> dict[str, Any]:
        with torch.no_grad():
            answers = graph(torch.from_numpy(np.ascontiguousarray(frames)))
        return {name: value.numpy() for name, value in zip(names, answers, strict=True)}

    return infer
