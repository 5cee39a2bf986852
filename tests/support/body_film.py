"""A film that leaves the body, and a tiny out-of-body model for it, made without torch.

bundle = make_body_bundle(tmp_path / "body.trocar")
pictures = [scene(kind, i) for i, kind in enumerate(FILM)]

Every picture is a fine pattern on a colour: red inside, green outside, something between where the
model is not sure. A covered picture has the colour and no pattern.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from trocar.contract.bundle import GOLDEN, MODEL, write_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.manifest import METADATA_KEY, InputSpec, Manifest, OutputSpec

COLOURS = {"inside": (170, 60, 60), "outside": (70, 150, 90), "unsure": (110, 105, 80)}
FILM = (
    *["inside"] * 6, *["outside"] * 5, *["inside"] * 3, *["unsure"] * 3, "outside", "inside",
    *["outside"] * 5,
)  # fmt: skip
HEIGHT, WIDTH = 96, 160
FINE = 12.0
"""Spread of the grey values of a pattern, at least; a cover and an encoder leave less than half."""


def scene(kind: str, number: int) -> NDArray[np.uint8]:
    """``[96, 160, 3]`` RGB of a kind; the pattern moves, and has the noise of a camera."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pattern = np.where((rows // 8 + (columns + number) // 8) % 2, 35, -35)
    noise = np.random.default_rng(number).integers(-3, 4, (HEIGHT, WIDTH, 3))
    picture = np.array(COLOURS[kind]) + pattern[:, :, None] + noise
    return np.clip(picture, 0, 255).astype(np.uint8)


def leaks(picture: NDArray[np.uint8]) -> bool:
    """Whether a picture is not from inside and still shows its pattern.

    Only the upper half counts: a status line may stand below.
    """
    upper = picture[: picture.shape[0] // 2].astype(np.float32)
    red, green = float(upper[..., 0].mean()), float(upper[..., 1].mean())
    return red - green < 60 and fineness(picture) >= FINE / 2


def fineness(picture: NDArray[np.uint8]) -> float:
    """Spread of the grey values of the upper half."""
    upper = picture[: picture.shape[0] // 2].astype(np.float32)
    return float(upper.mean(axis=2).std())


def write_film(path: Path) -> Path:
    """Writes `FILM` as H.264."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number, kind in enumerate(FILM):
            frame = av.VideoFrame.from_ndarray(scene(kind, number), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def make_body_bundle(
    path: Path, *, names: tuple[str, str] = ("inside", "outside"), nan_above: float = 1000
) -> Path:
    """Writes a classifier whose score of the first class grows with red minus green.

    Args:
        path: Folder to make.
        names: Of the classes.
        nan_above: Mean red above which its scores are no numbers.
    """
    manifest = Manifest(
        name="tiny body",
        task="classification",
        method="classifier",
        classes=ClassTable.from_names(names),
        input=InputSpec(height=24, width=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        outputs=(OutputSpec(name="scores", dtype="float32", shape=("batch", 2)),),
        golden_margin=1e-3,
    )
    graph = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        body (uint8[batch, h, w, 3] frame) => (float[batch, 2] scores)
        <float[3, 2] weights = {0.04, -0.04, -0.04, 0.04, 0.0, 0.0}, int64[2] axes = {1, 2}>
        {
            pixels = Cast <to = 1> (frame)
            means = ReduceMean <keepdims = 0> (pixels, axes)
            exact = MatMul (means, weights)
            zero = Constant <value = float {0.0}> ()
            one = Constant <value = int64[1] {0}> ()
            red = Gather <axis = 1> (means, one)
            most = Constant <value = float {NAN_ABOVE}> ()
            over = Greater (red, most)
            broken = Div (zero, zero)
            scores = Where (over, broken, exact)
        }""".replace("NAN_ABOVE", str(float(nan_above)))
    )
    onnx.helper.set_model_props(graph, {METADATA_KEY: manifest.without_files().to_json()})
    model = graph.SerializeToString()
    frame = scene("inside", 0)[:30, :41]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    scores = session.run(["scores"], {"frame": frame[None]})[0][0].astype(np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, frame=frame, scores=scores, margin=np.abs(scores[0] - scores[1]))
    write_bundle(path, manifest, {MODEL: model, GOLDEN: buffer.getvalue()})
    return path
