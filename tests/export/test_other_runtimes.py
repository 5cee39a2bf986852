"""The exported file, untouched, in other engines: OpenVINO and ONNX's reference evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from export_helpers import frames_of, run_onnx, scene

from trocar.export.precision.float16 import convert_to_float16
from trocar.export.precision.int8 import activation_ranges, convert_to_int8

# OpenVINO's own default on some processors is bfloat16, without a word.
HINTS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def frames(*, height: int = 110, width: int = 150) -> np.ndarray:
    return np.stack([scene(s, height, width) for s in range(2)])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_openvino_gives_the_same_labels(
    deeplab_onnx: bytes, tmp_path: Path, precision: str
) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")
    data = deeplab_onnx
    if precision == "fp16":
        data = convert_to_float16(data)[0]
    if precision == "int8":
        data = convert_to_int8(data, activation_ranges(data, frames_of(3)), target="cpu")
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    core = openvino.Core()
    model = core.compile_model(str(path), "CPU", HINTS)
    for batch in (frames(), frames(height=96, width=128)[:1]):
        answer = model(batch)
        given = {key.get_any_name(): value for key, value in answer.items()}
        expected = run_onnx(path)(batch)
        assert len(np.unique(expected["labels"])) >= 2
        equal = (given["labels"] == expected["labels"]).mean()
        assert equal >= (0.999 if precision != "int8" else 0.995)


def test_onnx_reference_evaluator_gives_the_same_labels(small_onnx: bytes, tmp_path: Path) -> None:
    reference = pytest.importorskip("onnx.reference")
    path = tmp_path / "model.onnx"
    path.write_bytes(small_onnx)
    batch = frames(height=70, width=50)
    evaluator = reference.ReferenceEvaluator(onnx.load(path))
    labels, confidence = evaluator.run(["labels", "confidence"], {"frame": batch})
    expected = run_onnx(path)(batch)
    assert len(np.unique(expected["labels"])) >= 2
    assert (labels == expected["labels"]).mean() >= 0.999
    np.testing.assert_allclose(
        np.asarray(confidence, np.float32),
        expected["confidence"].astype(np.float32),
        atol=5e-3,
    )
