"""A tiny classifier bundle, made without torch: mean colour in, scores and an embedding out."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from trocar.contract.bundle import GOLDEN, MODEL, write_bundle
from trocar.contract.class_store import ClassStore
from trocar.contract.classes import ClassTable
from trocar.contract.manifest import METADATA_KEY, InputSpec, Manifest, OutputSpec

NAMES = ("forceps", "scissors", "needle holder", "hook")


def make_classifier_bundle(
    path: Path, *, half: bool = False, embedding: bool = True, enrolled: int = 0
) -> Path:
    """Writes the bundle and returns its path.

    Args:
        path: Folder to make.
        half: Outputs in float16.
        embedding: Whether the graph gives the embedding too.
        enrolled: How many classes were enrolled after export; their tensor lies beside the graph.
    """
    kind = "float16" if half else "float32"
    outputs = [OutputSpec(name="scores", dtype=kind, shape=("batch", len(NAMES)))]
    if embedding:
        outputs.append(OutputSpec(name="embedding", dtype=kind, shape=("batch", 6)))
    manifest = Manifest(
        name="tiny classifier",
        task="classification",
        method="classifier",
        classes=ClassTable.from_names(NAMES, instruments=NAMES),
        input=InputSpec(height=24, width=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        outputs=tuple(outputs),
        golden_margin=1e-3,
    )
    model = _model(manifest, half=half)
    files: dict[str, bytes] = {}
    if enrolled:
        store = _store(enrolled)
        files[store.file_name()] = store.to_bytes()
        manifest = replace(
            manifest,
            classes=ClassTable.from_names(store.names),
            extra={"classification": {"state": store.file_name(), "inputs": ["centroids"]}},
        )
    frame = np.random.default_rng(3).integers(0, 256, (30, 41, 3)).astype(np.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    scores = session.run(["scores"], {"frame": frame[None]})[0][0].astype(np.float32)
    ordered = np.sort(scores)
    buffer = io.BytesIO()
    np.savez(buffer, frame=frame, scores=scores, margin=ordered[-1] - ordered[-2])
    write_bundle(path, manifest, {MODEL: model, GOLDEN: buffer.getvalue(), **files})
    return path


def _store(count: int) -> ClassStore:
    names = (*NAMES, *(f"enrolled {i}" for i in range(count)))
    rng = np.random.default_rng(9)
    return ClassStore(
        names=names,
        trained=tuple(name in NAMES for name in names),
        features=rng.normal(size=(len(names), 6)).astype(np.float32),
        owners=np.arange(len(names)),
        digests=("",) * len(names),
        inputs={"centroids": rng.normal(0, 0.02, (len(names), 6)).astype(np.float32)},
        changed=True,
    )


def _model(manifest: Manifest, *, half: bool) -> bytes:
    rng = np.random.default_rng(1)
    node = helper.make_node
    tensors = [
        numpy_helper.from_array(np.array([24, 32], np.int64), "sizes"),
        numpy_helper.from_array(rng.normal(0, 1, (3, 6)).astype(np.float32), "mix"),
        numpy_helper.from_array(
            rng.normal(0, 0.02, (len(NAMES), 6)).astype(np.float32), "centroids"
        ),
    ]
    out = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        node("Cast", ["frame"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node(
            "Resize",
            ["planes", "", "", "sizes"],
            ["small"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
            axes=[2, 3],
        ),
        node("GlobalAveragePool", ["small"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "mix"], ["mixed"]),
        node("Transpose", ["centroids"], ["head"], perm=[1, 0]),
        node("MatMul", ["mixed", "head"], ["logits"]),
        node("Softmax", ["logits"], ["soft"], axis=1),
        node("Cast", ["soft"], ["scores"], to=out),
        node("Cast", ["mixed"], ["embedding"], to=out),
    ]
    names = [output.name for output in manifest.outputs]
    widths: dict[str, str | int] = {"scores": "classes", "embedding": 6}
    graph = helper.make_graph(
        nodes if "embedding" in names else nodes[:-1],
        "classifier",
        [
            helper.make_tensor_value_info("frame", TensorProto.UINT8, ["batch", "h", "w", 3]),
            # With a default, so that enrolment can override it.
            helper.make_tensor_value_info("centroids", TensorProto.FLOAT, ["classes", 6]),
        ],
        [helper.make_tensor_value_info(name, out, ["batch", widths[name]]) for name in names],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    helper.set_model_props(model, {METADATA_KEY: manifest.without_files().to_json()})
    data: bytes = model.SerializeToString()
    return data
