"""The gate of instance models passes what is equal and refuses every planted fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import instance_files as files
import numpy as np
import onnx
import pytest
from export_helpers import run_onnx
from numpy.typing import NDArray

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import ArgumentError, ParityError
from trocar.export.bundle import bundle_from_onnx
from trocar.export.gate import ExportOptions
from trocar.export.parity.instances.compare import compare_instances
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import FrameOutputs, GateFrame, Outputs, ParityReport

SIZE = (120, 160)
MANIFEST = files.instance_external(score=0.5).manifest
Change = Callable[[dict[str, NDArray]], None]


def outputs_of(*, shift: int = 0) -> dict[str, NDArray]:
    """Three bars: two of class 1 side by side, one of class 2."""
    instances = np.zeros(SIZE, np.uint8)
    instances[20:100, 20 + shift : 50 + shift] = 1
    instances[20:100, 60:90] = 2
    instances[30:60, 110:150] = 3
    classes, scores = np.zeros(16, np.uint8), np.zeros(16, np.float32)
    classes[:3], scores[:3] = (1, 1, 2), (0.9, 0.8, 0.7)
    return with_labels(
        {
            "instances": instances,
            "classes": classes,
            "scores": scores,
            "boxes": np.zeros((16, 4), np.float32),
            "count": np.array(3, np.int32),
        }
    )


def with_labels(outputs: dict[str, NDArray]) -> dict[str, NDArray]:
    class_of = np.concatenate([[0], outputs["classes"]]).astype(np.uint8)
    return {**outputs, "labels": class_of[outputs["instances"]]}


def failures(first: Outputs, second: Outputs, limits: Limits | None = None) -> set[str]:
    frame = GateFrame(name="f", image=np.zeros((*SIZE, 3), np.uint8))
    item = FrameOutputs(frame, first, second, None)
    found = compare_instances([item], MANIFEST, limits or Limits.of("fp32"))
    return {failure.code for failure in found.failures}


def drop(outputs: dict[str, NDArray]) -> None:
    outputs["instances"][outputs["instances"] == 2] = 0


def swap_masks(outputs: dict[str, NDArray]) -> None:
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[1, 3]] = 3, 1
    outputs["instances"] = swapped[outputs["instances"]]


def swap_all(outputs: dict[str, NDArray]) -> None:
    swap_masks(outputs)
    for name in ("classes", "scores"):
        outputs[name][[0, 2]] = outputs[name][[2, 0]]


def change_class(outputs: dict[str, NDArray]) -> None:
    outputs["classes"][2] = 3


def change_score(outputs: dict[str, NDArray]) -> None:
    outputs["scores"][1] -= 0.01


def merge(outputs: dict[str, NDArray]) -> None:
    outputs["instances"][outputs["instances"] == 2] = 1


def split(outputs: dict[str, NDArray]) -> None:
    outputs["instances"][60:100, 20:50] = 4
    outputs["classes"][3], outputs["scores"][3] = 1, 0.6


def miscount(outputs: dict[str, NDArray]) -> None:
    outputs["count"] = np.array(5, np.int32)


FAULTS: list[tuple[Change, str]] = [
    (drop, "missed_instances"),
    (swap_masks, "instance_class"),
    (swap_all, "instance_order"),
    (change_class, "instance_class"),
    (change_score, "score_difference"),
    (merge, "missed_instances"),
    (split, "added_instances"),
    (miscount, "instance_count"),
]


def test_equal_outputs_pass() -> None:
    assert failures(outputs_of(), outputs_of()) == set()


@pytest.mark.parametrize(("change", "code"), FAULTS, ids=lambda v: getattr(v, "__name__", v))
def test_every_planted_fault_is_refused(change: Change, code: str) -> None:
    changed = outputs_of()
    change(changed)
    assert code in failures(outputs_of(), with_labels(changed))


def test_a_mask_that_is_shifted_by_four_pixels_is_refused() -> None:
    assert "mask_iou" in failures(outputs_of(), outputs_of(shift=4))


def test_labels_that_are_not_those_of_the_instances_are_refused() -> None:
    changed = outputs_of()
    changed["labels"][changed["instances"] == 1] = 3
    assert "instance_order" in failures(outputs_of(), changed)


def test_an_instance_at_the_smallest_score_may_be_missed() -> None:
    one, other = outputs_of(), outputs_of()
    one["scores"][2] = 0.5005
    drop_third = {**other, "instances": np.where(other["instances"] == 3, 0, other["instances"])}
    drop_third["scores"] = other["scores"].copy()
    drop_third["scores"][2], drop_third["count"] = 0, np.array(2, np.int32)
    drop_third["instances"] = drop_third["instances"].astype(np.uint8)
    assert failures(one, with_labels(drop_third)) == set()
    one["scores"][2] = 0.51
    assert "missed_instances" in failures(one, with_labels(drop_third))


def test_frames_without_instances_show_nothing() -> None:
    empty = {name: np.zeros_like(value) for name, value in outputs_of().items()}
    assert failures(empty, empty) == {"too_few_instance_frames"}


def test_another_maximum_is_refused() -> None:
    other = {**outputs_of(), "scores": np.zeros(8, np.float32)}
    with pytest.raises(ArgumentError, match="scores"):
        failures(outputs_of(), other)


FORMS: dict[str, tuple[bytes, dict[str, object]]] = {
    "prototypes": (files.prototype_file(), {"overlap": 0.5}),
    "queries": (files.query_file(), {}),
    "detections": (files.detection_file(), {"score": 0.3}),
    "coefficients": (files.coefficient_file(), {"score": 0.4}),
    "crops": (files.crop_file(), {"score": 0.4}),
}


def bundle_of(
    out: Path,
    wrong: Callable[[onnx.ModelProto], None] | None = None,
    form: str = "prototypes",
    **fields: object,
) -> Path:
    """A bundle through the whole gate; ``wrong`` changes the graph that is verified."""

    def opened(path: Path) -> object:
        if wrong is not None:
            model = onnx.load(path)
            wrong(model)
            onnx.save(model, path)
        return run_onnx(path)

    data, own = FORMS[form]
    bundle_from_onnx(
        data,
        files.instance_external(**{**own, **fields}),
        out,
        source="f.onnx",
        frames=files.gate_frames(2),
        open_model=opened,
    )
    return out


def test_a_bundle_states_what_it_was_made_with(tmp_path: Path) -> None:
    manifest = open_bundle(bundle_of(tmp_path / "m.trocar")).manifest
    assert manifest.task == "instances"
    stated = manifest.extra["instances"]
    assert (stated["form"], stated["overlap"], stated["score"]) == ("prototypes", 0.5, 0.5)
    assert manifest.outputs[0].shape == ("batch", files.HEIGHT, files.WIDTH)


def change_overlap(model: onnx.ModelProto) -> None:
    """Another threshold of the suppression."""
    for tensor in model.graph.initializer:
        if tensor.name == "nms_overlap":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([0.95], np.float32), tensor.name))
            return
    raise AssertionError("the graph has no suppression")


def constant_of(model: onnx.ModelProto, name: str, change: Callable[[NDArray], NDArray]) -> None:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    value = change(onnx.numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))


def shift_masks(model: onnx.ModelProto) -> None:
    """Masks lie four pixels further to the right."""
    node = onnx.helper.make_node
    nodes = list(model.graph.node)
    (last,) = (one for one in nodes if one.output[0] == "final")
    axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "shift_axes")
    pads = onnx.numpy_helper.from_array(np.array([0, 4, 0, -4], np.int64), "shift_pads")
    model.graph.initializer.extend([axes, pads])
    last.output[0] = "unmoved"
    place = nodes.index(last) + 1
    nodes.insert(place, node("Pad", ["unmoved", "shift_pads", "zero", "shift_axes"], ["final"]))
    copies = [type(one).FromString(one.SerializeToString()) for one in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def drop_second(model: onnx.ModelProto) -> None:
    """The second instance is not painted."""
    constant_of(model, "bits", lambda bits: np.where(np.arange(len(bits))[:, None] == 1, 0, bits))


def swap_first_two(model: onnx.ModelProto) -> None:
    """Pixels of the first instance have the number of the second one."""
    constant_of(model, "bits", lambda bits: bits[[1, 0, *range(2, len(bits))]])


def other_threshold(model: onnx.ModelProto) -> None:
    """Another smallest score."""
    constant_of(model, "least_score", lambda score: (score * 0.6).astype(np.float32))


GRAPH_FAULTS = (shift_masks, drop_second, swap_first_two, other_threshold)


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_graph_makes_no_bundle(tmp_path: Path, form: str) -> None:
    faults = (*GRAPH_FAULTS, *((change_overlap,) if form == "prototypes" else ()))
    for wrong in faults:
        out = tmp_path / wrong.__name__
        with pytest.raises(ParityError) as caught:
            bundle_of(out, wrong, form)
        assert not out.exists()
        words = ("instance", "IoU", "another count", "a score differs")
        assert any(word in caught.value.message for word in words), wrong.__name__


def converted(data: bytes, out: Path, precision: str, **fields: object) -> ParityReport:
    return bundle_from_onnx(
        data,
        files.instance_external(**fields),
        out,
        source="f.onnx",
        frames=files.gate_frames(3),
        open_model=run_onnx,
        options=ExportOptions(
            precision=precision, calibration=[files.instance_frame(seed) for seed in range(3, 6)]
        ),
    )


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_network_is_converted_and_the_assembly_stays_float32(
    tmp_path: Path, precision: str
) -> None:
    report = converted(files.crop_file(), tmp_path / "m", precision, score=0.4)
    assert report.metrics["pairs"] >= 6
    bundle = open_bundle(tmp_path / "m")
    assert bundle.manifest.precision == precision
    graph = onnx.load(bundle.model).graph
    conv = next(node for node in graph.node if node.op_type == "Conv")
    made = {name: node for node in graph.node for name in node.output}
    if precision == "fp16":
        assert made[conv.input[0]].op_type == "Cast"
    else:
        assert made[conv.input[1]].op_type == "DequantizeLinear"
    (bits,) = (tensor for tensor in graph.initializer if tensor.name == "bits")
    assert bits.data_type == onnx.TensorProto.FLOAT


def test_a_graph_that_runs_frame_by_frame_is_not_converted(tmp_path: Path) -> None:
    data = files.for_one_image(files.crop_file(), drop_batch=True)
    with pytest.raises(ArgumentError, match=r"\(Scan\) has a subgraph, which cannot be converted"):
        converted(data, tmp_path / "m", "fp16", score=0.4)
    assert not (tmp_path / "m").exists()


def test_limits_can_be_set() -> None:
    limits = replace(Limits.of("fp32"), min_instance_iou=0.5, min_pixel_agreement=0.5)
    assert failures(outputs_of(), outputs_of(shift=4), limits) == set()
