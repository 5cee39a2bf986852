"""What the runtime's benchmarks share: a realistic model, a 1080p video, and how to time.

model = deeplab_bundle(folder)      # DeepLabV3+ on MobileNetV3-small, 512x640
video = surgical_video(folder / "video.mp4", frames=150)
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import GOLDEN, MODEL, write_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])


def scene(index: int, height: int = 1080, width: int = 1920) -> NDArray[np.uint8]:
    """``[H, W, 3]`` RGB: tissue with fixed texture and fresh noise, two instruments that move."""
    frame = cv2.resize(_tissue(), (width, height), interpolation=cv2.INTER_CUBIC)
    unit = height / 540
    swing = np.sin(index / 17)
    for colour, start, end in (
        ((60, 70, 210), (-10, 120), (400 + 60 * swing, 250 + 40 * np.cos(index / 23))),
        ((60, 200, 70), (970, 430), (600 - 50 * np.cos(index / 19), 330 + 50 * swing)),
    ):
        a = np.array(start, float) * unit * (width / height / (16 / 9), 1)
        b = np.array(end, float) * unit * (width / height / (16 / 9), 1)
        along = (b - a) / np.linalg.norm(b - a)
        joint = b - along * 60 * unit
        _line(frame, a, joint, colour, 22 * unit)
        for side in (-1, 1):
            turn = side * (0.15 + 0.12 * np.sin(index / 11))
            c, s = np.cos(turn), np.sin(turn)
            jaw = joint + 60 * unit * np.array(
                [c * along[0] - s * along[1], s * along[0] + c * along[1]]
            )
            _line(frame, joint, jaw, colour, 9 * unit)
    noise = np.random.default_rng(index).integers(-6, 7, (height // 2, width // 2), np.int16)
    grain = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    return np.clip(frame.astype(np.int16) + grain, 0, 255).astype(np.uint8)


def surgical_video(
    path: Path, *, frames: int, height: int = 1080, width: int = 1920, fps: int = 30
) -> Path:
    """Writes H.264 at a quality that endoscopes record at; keeps a file that is there."""
    if path.exists():
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(index, height, width), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def deeplab_bundle(
    path: Path,
    *,
    encoder: str = "timm-mobilenetv3_small_100",
    height: int = 512,
    width: int = 640,
) -> Path:
    """A bundle of DeepLabV3+ with random weights and a sensible answer.

    Weights are random, so a colour classifier is added to the last layer: the work is the real
    network's, the labels are those of the scene.
    """
    if path.exists():
        return path
    import torch
    from segmentation_models_pytorch import DeepLabV3Plus

    from trocar.export.graph.from_torch import onnx_from_network

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = DeepLabV3Plus(encoder, encoder_weights=None, classes=len(TABLE))
            self.colour = torch.nn.Conv2d(3, len(TABLE), 1)
            with torch.no_grad():
                self.colour.weight[:, :, 0, 0] = torch.tensor(
                    [[0.5, -0.2, -0.2], [-0.5, -0.5, 1.0], [-0.5, 1.0, -0.5]]
                ) * (12 / 255)
                self.colour.bias[:] = torch.tensor([1.2, 0.0, 0.0])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.body(image / 255) * 1e-3 + self.colour(image)

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
    write_bundle(path, manifest, {MODEL: data, GOLDEN: _golden(data)})
    return path


def _golden(data: bytes) -> bytes:
    """The model's own answer: these bundles are timed, not trusted."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    frame = scene(0, 512, 640)
    names = [output.name for output in session.get_outputs()]
    given = dict(
        zip(names, session.run(names, {session.get_inputs()[0].name: frame[None]}), strict=True)
    )
    buffer = io.BytesIO()
    labels = given["labels"][0]
    np.savez(buffer, frame=frame, labels=labels, margin=np.zeros(labels.shape, np.float32))
    return buffer.getvalue()


def median(values: list[float]) -> float:
    """The middle of what was measured."""
    return statistics.median(values)


def read_all(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Decodes a video as users' scripts do: one frame after the other, RGB."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


_TISSUE: list[NDArray[np.uint8]] = []


def _tissue() -> NDArray[np.uint8]:
    if not _TISSUE:
        rng = np.random.default_rng(1)
        rough = cv2.GaussianBlur(rng.normal(0, 1, (270, 480)).astype(np.float32), (0, 0), 4)
        fine = cv2.GaussianBlur(rng.normal(0, 1, (270, 480)).astype(np.float32), (0, 0), 1)
        wave = rough / rough.std() * 22 + fine / fine.std() * 7
        base = np.stack([165 + wave, 62 + wave * 0.6, 55 + wave * 0.5], axis=-1)
        _TISSUE.append(np.clip(base, 0, 255).astype(np.uint8))
    return _TISSUE[0]


def _line(
    frame: NDArray[np.uint8],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    colour: tuple[int, int, int],
    width: float,
) -> None:
    start = (int(a[0]), int(a[1]))
    end = (int(b[0]), int(b[1]))
    cv2.line(frame, start, end, colour, max(1, round(width)), cv2.LINE_AA)
