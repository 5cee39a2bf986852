"""A bundle with a realistic network and plausible labels.

deeplab_bundle(Path("model.trocar"))  # DeepLabV3+ on MobileNetV3-small, 512x640
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from helpers.live.scenes import scene

from trocar.contract.bundle import GOLDEN, MODEL, write_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])


def deeplab_bundle(
    path: Path,
    *,
    encoder: str = "timm-mobilenetv3_small_100",
    height: int = 512,
    width: int = 640,
    nv12: bool = False,
) -> Path:
    """Write a bundle of DeepLabV3+ with random weights, unless it exists.

    A colour classifier is added to the last layer, so that the labels show the instruments of the
    scene while the computation is that of the network. With the encoder ``none`` there is nothing
    but this classifier.
    """
    if path.exists():
        return path
    import torch
    from segmentation_models_pytorch import DeepLabV3Plus

    from trocar.export.graph.from_torch import onnx_from_network

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = (
                None
                if encoder == "none"
                else DeepLabV3Plus(encoder, encoder_weights=None, classes=len(TABLE))
            )
            self.colour = torch.nn.Conv2d(3, len(TABLE), 1)
            with torch.no_grad():
                self.colour.weight[:, :, 0, 0] = torch.tensor(
                    [[0.5, -0.2, -0.2], [-0.5, -0.5, 1.0], [-0.5, 1.0, -0.5]]
                ) * (12 / 255)
                self.colour.bias[:] = torch.tensor([1.2, 0.0, 0.0])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            coloured: torch.Tensor = self.colour(image)
            return coloured if self.body is None else self.body(image / 255) * 1e-3 + coloured

    torch.manual_seed(0)
    manifest = Manifest(
        name=f"benchmark {encoder}",
        task="segmentation",
        method="supervised",
        classes=TABLE,
        input=InputSpec(height=height, width=width),
        golden_margin=1e-2,
    )
    data, manifest = onnx_from_network(Network().eval(), manifest)
    files = {MODEL: data, GOLDEN: _golden(data)}
    if nv12:
        files |= _nv12_files(data, manifest, path)
    write_bundle(path, manifest, files)
    return path


def _nv12_files(data: bytes, manifest: Manifest, path: Path) -> dict[str, bytes]:
    """The graph for NV12 and its golden frame, compared with the RGB form on three scenes."""
    from trocar.commands._models import open_nv12
    from trocar.export.cpu_session import infer_on_cpu
    from trocar.export.graph.model_file import with_logits_output
    from trocar.export.nv12_form import make_nv12
    from trocar.export.parity.types import GateFrame

    def write(name: str, content: bytes) -> Path:
        file = path.with_name(name)
        file.write_bytes(content)
        return file

    form = make_nv12(
        data,
        manifest,
        frames=[GateFrame(name=str(i), image=scene(i, 1080, 1920)) for i in range(3)],
        golden=scene(0, 512, 640),
        rgb=infer_on_cpu(with_logits_output(data)),
        open_nv12=open_nv12,
        write=write,
    )
    return dict(form.files)


def _golden(data: bytes) -> bytes:
    """Golden frame with the output of this model itself: these bundles are only timed."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    frame = scene(0, 512, 640)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(
        zip(names, session.run(names, {session.get_inputs()[0].name: frame[None]}), strict=True)
    )
    buffer = io.BytesIO()
    labels = outputs["labels"][0]
    # Where the model is certain, labels must be equal; there is no network to take margins from.
    certain = np.asarray(outputs["confidence"][0], np.float32) > 0.6
    np.savez(buffer, frame=frame, labels=labels, margin=certain.astype(np.float32))
    return buffer.getvalue()
