"""The references of the parity gate: a network in PyTorch, an ONNX file as it was given.

reference = torch_reference(network, manifest)
reference(frames)["logits"]                          # [N,K,h,w] float32
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import cv2
import numpy as np

from trocar.contract.manifest import Manifest
from trocar.export.graph.imported.canonical import CanonicalNetwork
from trocar.export.graph.imported.onnx_input import prepare_image
from trocar.export.graph.model_file import LOGITS
from trocar.export.parity.types import Frame, Infer, Output, Outputs

if TYPE_CHECKING:
    from torch import nn


def torch_reference(network: nn.Module, manifest: Manifest) -> Infer:
    """Puts a copy of the network, float32 on the CPU, behind the frame-in graph, with logits."""
    import torch

    from trocar.export.graph.frame_graph import FrameGraph

    copied = copy.deepcopy(network).cpu().float().eval()
    graph = FrameGraph(copied, manifest, with_logits=True).eval()
    names = [output.name for output in manifest.outputs]
    if manifest.task == "segmentation":
        names = [*names, "logits"]

    def infer(frames: Frame) -> Outputs:
        with torch.no_grad():
            outputs = graph(torch.from_numpy(np.ascontiguousarray(frames)))
        return {name: value.numpy() for name, value in zip(names, outputs, strict=True)}

    return infer


def original_reference(network: CanonicalNetwork) -> Infer:
    """Runs an ONNX file as it was given, one frame at a time.

    OpenCV and NumPy prepare the frames and read the outputs, so a wrong graph around the file
    shows as a difference.
    """
    spec = network.external.spec

    def infer(frames: Frame) -> Outputs:
        results = [network.original(prepare_image(frame, spec)) for frame in frames]
        first = np.concatenate([result[0] for result in results])
        if spec.task == "classification":
            scores: dict[str, Output] = {"scores": first}
            if spec.embedding:
                scores["embedding"] = np.concatenate([result[1] for result in results])
            return scores
        if first.shape[2:] != (spec.height, spec.width):
            size = (spec.width, spec.height)
            first = np.stack([[cv2.resize(plane, size) for plane in item] for item in first])
        return {"labels": first.argmax(1).astype(np.uint8), LOGITS: first}

    return infer
