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
from trocar.export.parity.types import FrameOutputs, GateFrame, Outputs

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


def bundle_of(
    out: Path, wrong: Callable[[onnx.ModelProto], None] | None = None, **fields: object
) -> Path:
    """A bundle through the whole gate; ``wrong`` changes the graph that is verified."""

    def opened(path: Path) -> object:
        if wrong is not None:
            model = onnx.load(path)
            wrong(model)
            onnx.save(model, path)
        return run_onnx(path)

    bundle_from_onnx(
        files.prototype_file(),
        files.instance_external(overlap=0.5, **fields),
        out,
        source="f.onnx",
        frames=files.gate_frames(3),
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


def shift_masks(model: onnx.ModelProto) -> None:
    """Half-pixel centres are replaced by the corners: masks move."""
    for node in model.graph.node:
        if node.op_type == "Resize" and node.output[0] == "sized":
            for attribute in node.attribute:
                if attribute.name == "coordinate_transformation_mode":
                    attribute.s = b"asymmetric"


@pytest.mark.parametrize("wrong", [change_overlap, shift_masks])
def test_a_wrong_graph_makes_no_bundle(
    tmp_path: Path, wrong: Callable[[onnx.ModelProto], None]
) -> None:
    out = tmp_path / "m.trocar"
    with pytest.raises(ParityError) as caught:
        bundle_of(out, wrong)
    assert not out.exists()
    assert "instances" in caught.value.message or "IoU" in caught.value.message


def test_other_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be converted to fp16"):
        bundle_from_onnx(
            files.query_file(),
            files.instance_external(),
            tmp_path / "m.trocar",
            source="f.onnx",
            frames=files.gate_frames(2),
            open_model=run_onnx,
            options=ExportOptions(precision="fp16"),
        )


def test_limits_can_be_set() -> None:
    limits = replace(Limits.of("fp32"), min_instance_iou=0.5, min_pixel_agreement=0.5)
    assert failures(outputs_of(), outputs_of(shift=4), limits) == set()
