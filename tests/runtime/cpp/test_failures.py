"""What is broken is refused with the same code in both languages, and says what to do."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from classifier_bundle import make_classifier_bundle

from trocar.contract.bundle import GOLDEN, MODEL, open_bundle, sha256_of, update_bundle
from trocar.contract.errors import BundleError, TrocarError
from trocar.contract.integrity.manifest_hash import guarded_sha256
from trocar.runtime.session import Session


def replaced(bundle: Path, name: str, data: bytes) -> None:
    """Writes a file and its hash, as a careful forger would."""
    (bundle / name).write_bytes(data)
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"][name] = sha256_of(bundle / name)
    (bundle / "manifest.json").write_text(json.dumps(document))


def golden_with(bundle: Path, compressed: bool = False, **changes: Any) -> None:
    with np.load(bundle / GOLDEN) as file:
        arrays = {name: file[name] for name in file.files} | changes
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(
        buffer, **{name: value for name, value in arrays.items() if value is not None}
    )
    replaced(bundle, GOLDEN, buffer.getvalue())


def manifest_with(bundle: Path, **changes: Any) -> None:
    document = json.loads((bundle / "manifest.json").read_text()) | changes
    (bundle / "manifest.json").write_text(json.dumps(document))


def flipped(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))


def wrong_labels(bundle: Path, *, margin: float) -> None:
    with np.load(bundle / GOLDEN) as file:
        labels, margins = file["labels"].copy(), file["margin"].copy()
    labels[3, 4] ^= 1
    margins[3, 4] = margin
    golden_with(bundle, labels=labels, margin=margins)


def document_of(bundle: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return document


def text_with(bundle: Path, old: str, new: str) -> None:
    text = (bundle / "manifest.json").read_text()
    assert text.count(old) == 1
    (bundle / "manifest.json").write_text(text.replace(old, new))


def row_with(bundle: Path, index: int, **changes: Any) -> None:
    rows = document_of(bundle)["classes"]
    rows[index] |= changes
    manifest_with(bundle, classes=rows)


def input_with(bundle: Path, **changes: Any) -> dict[str, Any]:
    return dict(document_of(bundle)["input"]) | changes


def metadata_with(bundle: Path, **entries: str | None) -> None:
    model = onnx.load(bundle / MODEL)
    kept = [entry for entry in model.metadata_props if entry.key not in entries]
    values = {entry.key: entry.value for entry in kept}
    values |= {key: text for key, text in entries.items() if text is not None}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, values)
    replaced(bundle, MODEL, model.SerializeToString())


def re_exported(bundle: Path, **changes: Any) -> None:
    """What an exporter with a fault would write: manifest, copy and hash agree."""
    manifest_with(bundle, **changes)
    copy = json.dumps(document_of(bundle) | {"files": {}})
    metadata_with(bundle, trocar_manifest=copy, trocar_manifest_sha256=guarded_sha256(copy))


def external_constant(bundle: Path) -> None:
    model = onnx.load(bundle / MODEL)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
    (bundle / "weights.bin").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, "weights.bin", 0, len(weight.raw_data))
    weight.ClearField("raw_data")
    replaced(bundle, MODEL, model.SerializeToString())


def few_margins(bundle: Path, share: float) -> None:
    margin = np.zeros(64 * 80, np.float32)
    margin[: int(share * margin.size)] = 1
    golden_with(bundle, margin=margin.reshape(64, 80))


CASES: dict[str, tuple[int, Callable[[Path], object]]] = {
    "whole": (0, lambda b: None),
    "model changed": (5, lambda b: flipped(b, MODEL)),
    "golden changed": (5, lambda b: flipped(b, GOLDEN)),
    "model missing": (4, lambda b: (b / MODEL).unlink()),
    "golden missing": (4, lambda b: (b / GOLDEN).unlink()),
    "manifest missing": (4, lambda b: (b / "manifest.json").unlink()),
    "manifest is a folder": (
        4,
        lambda b: ((b / "manifest.json").unlink(), (b / "manifest.json").mkdir()),
    ),
    "folder missing": (4, shutil.rmtree),
    "model not listed": (4, lambda b: manifest_with(b, files={GOLDEN: sha256_of(b / GOLDEN)})),
    "golden not listed": (4, lambda b: manifest_with(b, files={MODEL: sha256_of(b / MODEL)})),
    "other major version": (6, lambda b: manifest_with(b, schema="2.0")),
    "model is no model": (4, lambda b: replaced(b, MODEL, b"nothing of the kind")),
    "model is empty": (4, lambda b: replaced(b, MODEL, b"")),
    "golden is no zip": (4, lambda b: replaced(b, GOLDEN, b"nothing of the kind")),
    "golden is empty": (4, lambda b: replaced(b, GOLDEN, b"")),
    "golden truncated": (4, lambda b: replaced(b, GOLDEN, (b / GOLDEN).read_bytes()[:-300])),
    "golden without labels": (4, lambda b: golden_with(b, labels=None)),
    "golden without frame": (4, lambda b: golden_with(b, frame=None)),
    "golden frame of floats": (4, lambda b: golden_with(b, frame=np.zeros((9, 9, 3)))),
    "golden frame of one channel": (4, lambda b: golden_with(b, frame=np.zeros((9, 9), np.uint8))),
    "golden margin of other size": (4, lambda b: golden_with(b, margin=np.zeros((9, 9)))),
    "golden labels of other size": (
        8,
        lambda b: golden_with(b, margin=np.ones((9, 9)), labels=np.ones((9, 9), np.uint8)),
    ),
    "golden pixel differs": (8, lambda b: wrong_labels(b, margin=0.01)),
    "golden near-tie differs": (0, lambda b: wrong_labels(b, margin=0.0005)),
    "golden margin at the limit": (0, lambda b: wrong_labels(b, margin=float(np.float32(0.001)))),
    "margins of doubles": (
        0,
        lambda b: golden_with(b, margin=np.load(b / GOLDEN)["margin"].astype(np.float64)),
    ),
    "unknown field": (5, lambda b: manifest_with(b, novelty=1)),
    "unknown field, in the copy too": (0, lambda b: re_exported(b, novelty=1)),
    "names swapped": (5, lambda b: row_with(b, 1, name="scissor")),
    "instrument off": (5, lambda b: row_with(b, 1, instrument=False)),
    "other input name": (5, lambda b: manifest_with(b, input=input_with(b, name="image"))),
    "other precision": (5, lambda b: manifest_with(b, precision="fp16")),
    "larger margin": (5, lambda b: manifest_with(b, golden_margin=0.0011)),
    "a number written otherwise": (5, lambda b: text_with(b, "0.001", "1e-3")),
    "white space": (0, lambda b: manifest_with(b)),
    "hash in the model wrong": (5, lambda b: metadata_with(b, trocar_manifest_sha256="0" * 64)),
    "hash in the model missing": (0, lambda b: metadata_with(b, trocar_manifest_sha256=None)),
    "copy in the model is no JSON": (5, lambda b: metadata_with(b, trocar_manifest="{")),
    "no copy in the model": (
        0,
        lambda b: metadata_with(b, trocar_manifest=None, trocar_manifest_sha256=None),
    ),
    "precision is not the graph's": (4, lambda b: re_exported(b, precision="fp16")),
    "input is not the graph's": (4, lambda b: re_exported(b, input=input_with(b, name="image"))),
    "output is not the graph's": (
        4,
        lambda b: re_exported(b, outputs=[{"name": "label", "dtype": "uint8", "shape": []}]),
    ),
    "output of another type": (
        4,
        lambda b: re_exported(b, outputs=[{"name": "labels", "dtype": "int64", "shape": []}]),
    ),
    "another task": (4, lambda b: re_exported(b, task="classification")),
    "table too short": (4, lambda b: re_exported(b, classes=document_of(b)["classes"][:2])),
    "margin above every pixel": (4, lambda b: re_exported(b, golden_margin=1e9)),
    "constants in another file": (4, external_constant),
    "golden labels not in the table": (
        4,
        lambda b: golden_with(b, labels=np.full((64, 80), 3, np.uint8)),
    ),
    "golden labels of int64": (
        4,
        lambda b: golden_with(b, labels=np.load(b / GOLDEN)["labels"].astype(np.int64)),
    ),
    "golden margin of integers": (4, lambda b: golden_with(b, margin=np.ones((64, 80), np.int32))),
    "golden margin not finite": (
        4,
        lambda b: golden_with(b, margin=np.full((64, 80), np.nan, np.float32)),
    ),
    "golden frame compares 4 % of the pixels": (4, lambda b: few_margins(b, 0.04)),
    "golden frame compares 6 % of the pixels": (0, lambda b: few_margins(b, 0.06)),
    "golden frame too large": (
        4,
        lambda b: golden_with(b, frame=np.zeros((1, 32769, 3), np.uint8)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_code(
    case: str, cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    code, spoil = CASES[case]
    bundle = tmp_path / "b.trocar"
    shutil.copytree(tiny_bundle, bundle)
    spoil(bundle)
    assert codes_of(bundle, cpp, library, onnxruntime_library) == (code, code)


CLASSIFIERS: dict[str, tuple[int, Callable[[Path], object]]] = {
    "whole": (0, lambda b: None),
    "golden scores not finite": (4, lambda b: golden_with(b, scores=np.full(4, np.nan, "f4"))),
    "golden scores all equal": (4, lambda b: golden_with(b, scores=np.ones(4, np.float32))),
    "golden scores of other length": (8, lambda b: golden_with(b, scores=np.eye(5, dtype="f4")[0])),
    "golden without scores": (4, lambda b: golden_with(b, scores=None)),
    "golden frame shows another class": (
        8,
        lambda b: golden_with(b, scores=np.load(b / GOLDEN)["scores"][::-1].copy()),
    ),
    "table too short": (4, lambda b: re_exported(b, classes=document_of(b)["classes"][:3])),
    "another task": (4, lambda b: re_exported(b, task="segmentation")),
    "enrolled classes changed": (5, lambda b: flipped(b, next(b.glob("classes*")).name)),
    "enrolled classes missing": (4, lambda b: next(b.glob("classes*")).unlink()),
}


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_same_code_for_classifiers(
    case: str, cpp: ModuleType, library: str, onnxruntime_library: str, tmp_path: Path
) -> None:
    code, spoil = CLASSIFIERS[case]
    bundle = make_classifier_bundle(tmp_path / "b.trocar", enrolled=2 if "enrolled" in case else 0)
    spoil(bundle)
    assert codes_of(bundle, cpp, library, onnxruntime_library) == (code, code)


def codes_of(
    bundle: Path, cpp: ModuleType, library: str, onnxruntime_library: str
) -> tuple[int, int]:
    """What opening gives in C++ and in Python; -1 for an error without a remedy."""
    got = python = 0
    try:
        Session.open(bundle, threads=1).close()
    except TrocarError as error:
        python = error.code
    try:
        cpp.Session(library, str(bundle), library=onnxruntime_library, threads=1).close()
    except cpp.TrocarFailure as error:
        got = error.code if "→" in str(error) else -1
    return got, python


def test_numbers_that_are_not_finite_fail_alike(
    cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str, tmp_path: Path
) -> None:
    """A confidence that is NaN where a frame has a white pixel."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "b.trocar"))
    model = onnx.load(bundle / MODEL)
    half = onnx.TensorProto.FLOAT16
    for node in model.graph.node:
        if node.output[0] == "confidence":
            node.output[0] = "certain"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float16(254.5), "limit"))
    make = onnx.helper.make_node
    model.graph.node.extend(
        [
            make("Cast", ["frame"], ["halves"], to=half),
            make("ReduceMax", ["halves"], ["white"], keepdims=0),
            make("Sub", ["limit", "white"], ["rest"]),
            make("Sqrt", ["rest"], ["root"]),
            make("Sub", ["root", "root"], ["zero"]),
            make("Add", ["certain", "zero"], ["confidence"]),
        ]
    )
    replaced(bundle, MODEL, model.SerializeToString())
    frame = np.full((64, 80, 3), 100, np.uint8)
    native = cpp.Session(library, str(bundle), library=onnxruntime_library, threads=1)
    with Session.open(bundle, threads=1) as session:
        session.run(frame)
        native.run(frame)
        frame[3, 4] = 255
        with pytest.raises(TrocarError, match="'confidence' holds numbers that are not") as python:
            session.run(frame)
        with pytest.raises(cpp.TrocarFailure, match="'confidence' holds numbers that are") as got:
            native.run(frame)
    native.close()
    assert (got.value.code, python.value.code) == (9, 9)


def test_a_compressed_golden_frame_is_refused(
    cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str, tmp_path: Path
) -> None:
    """The contract says uncompressed: a reader of little code must be able to read it."""
    bundle = tmp_path / "b.trocar"
    shutil.copytree(tiny_bundle, bundle)
    golden_with(bundle, compressed=True)
    with pytest.raises(cpp.TrocarFailure, match="compressed"):
        cpp.Session(library, str(bundle), library=onnxruntime_library)
    with pytest.raises(BundleError, match="compressed"):
        Session.open(bundle, threads=1)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"device": "tpu"}, 15),
        ({"device": "cuda:x"}, 15),
        ({"device": "cuda:1234"}, 15),
        ({"backend": "magic"}, 9),
        ({"precision": "int8"}, 9),
    ],
)
def test_options(
    cpp: ModuleType,
    library: str,
    tiny_bundle: Path,
    onnxruntime_library: str,
    options: dict[str, str],
    code: int,
) -> None:
    with pytest.raises(TrocarError) as python:
        Session.open(tiny_bundle, **options)
    with pytest.raises(cpp.TrocarFailure) as native:
        cpp.Session(library, str(tiny_bundle), library=onnxruntime_library, **options)
    assert (native.value.code, python.value.code) == (code, code)


def test_cuda_is_never_replaced_by_the_cpu(
    cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str
) -> None:
    from trocar.runtime.devices import cuda_count

    if cuda_count()[0]:
        pytest.skip("this machine has a GPU")
    for provider in ("cuda", "tensorrt", "tensorrt-rtx"):
        with pytest.raises(cpp.TrocarFailure) as error:
            cpp.Session(
                library,
                str(tiny_bundle),
                library=onnxruntime_library,
                device="cuda",
                provider=provider,
            )
        assert error.value.code == 9


def test_library_that_is_not_there(cpp: ModuleType, library: str, tiny_bundle: Path) -> None:
    with pytest.raises(cpp.TrocarFailure, match="TROCAR_ONNXRUNTIME") as error:
        cpp.Session(library, str(tiny_bundle), library="/nowhere/libonnxruntime.so")
    assert error.value.code == 10
    with pytest.raises(cpp.TrocarFailure, match="is not an ONNX Runtime") as error:
        cpp.Session(library, str(tiny_bundle), library=library)
    assert error.value.code == 9


def test_engines_of_a_bundle_are_checked_too(
    cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "b.trocar"
    shutil.copytree(tiny_bundle, bundle)
    update_bundle(open_bundle(bundle), add={"engines/a.engine": b"engine"})
    cpp.Session(library, str(bundle), library=onnxruntime_library).close()
    (bundle / "engines" / "a.engine").write_bytes(b"other")
    with pytest.raises(cpp.TrocarFailure) as error:
        cpp.Session(library, str(bundle), library=onnxruntime_library)
    assert error.value.code == 5
