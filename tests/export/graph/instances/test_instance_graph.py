"""The graph of an instance model gives what NumPy makes of the file's own outputs."""

from __future__ import annotations

from typing import Any, Literal

import instance_files as files
import numpy as np
import onnx
import pytest

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.export.cpu_session import infer_on_cpu
from trocar.export.graph.input_spec import FORM_NAMES, ModelSpec
from trocar.export.graph.instances.from_onnx import instance_file
from trocar.export.graph.instances.recognise import FORMS, recognise

ONE_BY_ONE = (
    files.for_one_image(files.crop_file(), drop_batch=True),
    files.for_one_image(files.query_file(), drop_batch=False),
)
"""Files for one image, without a batch dimension and with one of 1."""

CASES: list[tuple[str, bytes, dict[str, Any]]] = [
    ("queries", files.query_file(), {}),
    ("queries", files.query_file(classes=3), {"max_instances": 40}),
    (
        "queries",
        files.query_file(boxes=True),
        {"resize": "letterbox", "max_instances": 3, "unused": "first"},
    ),
    ("queries", files.query_file(boxes=True), {"unused": "last"}),
    ("queries", files.query_file(classes=3, boxes=True), {"max_instances": 40}),
    ("prototypes", files.prototype_file(), {"overlap": 0.5}),
    ("prototypes", files.prototype_file(transposed=False), {"resize": "letterbox", "score": 0.3}),
    ("detections", files.detection_file(), {"score": 0.3, "resize": "letterbox-corner"}),
    ("detections", files.detection_file(joined=False), {"score": 0.3, "max_instances": 3}),
    ("coefficients", files.coefficient_file(), {"resize": "letterbox", "score": 0.4}),
    ("coefficients", files.coefficient_file(joined=False), {"max_instances": 4}),
    ("crops", files.crop_file(), {"score": 0.4}),
    ("crops", files.crop_file(side=28), {"resize": "letterbox", "score": 0.4}),
    ("crops", ONE_BY_ONE[0], {"score": 0.4}),
    ("queries", ONE_BY_ONE[1], {}),
]


@pytest.mark.parametrize(("name", "data", "fields"), CASES)
def test_every_form_equals_numpy_on_frames_of_other_shapes(
    name: str, data: bytes, fields: dict[str, Any]
) -> None:
    file = instance_file(
        data, files.instance_external(**fields), source="f", images=[files.instance_frame(0)]
    )
    assert file.recognised.name == name
    graph = onnx.load_model_from_string(file.data).graph
    bodies = [a.g for node in graph.node for a in node.attribute if node.op_type == "Scan"]
    assert bool(bodies) == (data in ONE_BY_ONE)
    used = {name for inner in (graph, *bodies) for node in inner.node for name in node.input}
    ours = {t.name for t in graph.initializer if not t.name.startswith("external_")}
    assert ours <= used
    infer = infer_on_cpu(file.data)
    shown = 0
    for size in ((90, 120), (70, 150), (150, 61)):
        frames = np.stack([files.instance_frame(seed, *size) for seed in range(3)])
        got, wanted = infer(frames), file.reference(frames)
        assert list(got) == [output.name for output in file.manifest.outputs]
        for output in file.manifest.outputs:
            assert got[output.name].dtype == output.dtype == wanted[output.name].dtype
            if output.name in ("instances", "labels", "boxes"):
                # Sums in another order: a pixel in a thousand may lie on the edge of a mask.
                assert np.mean(got[output.name] != wanted[output.name]) <= 1e-3, output.name
            else:
                np.testing.assert_allclose(got[output.name], wanted[output.name], atol=1e-5)
        shown += int(got["instances"].max())
        assert (got["count"] >= (got["scores"] > 0).sum(1)).all()
    assert shown >= 6, "the frames must show instances"


def test_more_instances_than_the_maximum_are_counted() -> None:
    data = files.query_file(boxes=True)
    few = instance_file(data, files.instance_external(max_instances=3, unused="first"), source="f")
    many = instance_file(
        data, files.instance_external(max_instances=16, unused="first"), source="f"
    )
    frames = files.instance_frame(1)[None]
    less, more = infer_on_cpu(few.data)(frames), infer_on_cpu(many.data)(frames)
    assert less["count"][0] == more["count"][0] > 3
    np.testing.assert_array_equal(less["scores"][0], more["scores"][0, :3])


def test_equal_scores_are_ordered_by_the_first_pixel() -> None:
    masks = -np.ones((1, 4, 24, 32), np.float32)
    for query, row in enumerate((16, 4, 10, 20)):
        masks[0, query, row : row + 3, 4:28] = 1
    logits = np.zeros((1, 4, 3), np.float32) + np.array([4, -4, -4], np.float32)
    node = onnx.helper.make_node
    data = files.instance_onnx(
        [
            node("ReduceMean", ["x"], ["mean"], keepdims=1),
            node("Mul", ["mean", "zero"], ["nothing"]),
            node("ReduceMean", ["x", "axes"], ["mean_of"], keepdims=1),
            node("Mul", ["mean_of", "zero"], ["nothing_of"]),
            node("Add", ["nothing_of", "masks"], ["m"]),
            node("Squeeze", ["nothing_of", "last"], ["flat"]),
            node("Add", ["flat", "logits"], ["c"]),
        ],
        {"c": ["n", 4, 3], "m": ["n", 4, 24, 32]},
        {
            "masks": masks,
            "logits": logits,
            "zero": np.array(0, np.float32),
            "axes": np.array([1, 2, 3], np.int64),
            "last": np.array([3], np.int64),
        },
    )
    file = instance_file(data, files.instance_external(), source="f")
    got = infer_on_cpu(file.data)(files.instance_frame(0)[None])
    assert got["boxes"][0, :4, 1].tolist() == sorted(got["boxes"][0, :4, 1].tolist())
    assert got["count"][0] == 4
    assert len(set(got["boxes"][0, :4, 1].tolist())) == 4


def test_boxes_are_those_of_the_whole_mask() -> None:
    file = instance_file(files.detection_file(), files.instance_external(score=0.3), source="f")
    got = infer_on_cpu(file.data)(files.instance_frame(2)[None])
    for number in range(1, int(got["instances"].max()) + 1):
        rows, columns = np.nonzero(got["instances"][0] == number)
        x0, y0, x1, y1 = got["boxes"][0, number - 1]
        assert x0 <= columns.min() <= columns.max() < x1
        assert y0 <= rows.min() <= rows.max() < y1
    assert got["instances"].max() >= 2


def test_forms_have_the_names_that_the_commands_offer() -> None:
    assert tuple(FORMS) == FORM_NAMES


def _refused(shapes: dict[str, tuple[int, ...]], form: str = "", classes: int = 4) -> str:
    spec = ModelSpec(height=48, width=64, task="instances", form=form)
    with pytest.raises((ArgumentError, ConfigError)) as caught:
        recognise(shapes, spec, classes=classes, source="f.onnx")
    return f"{caught.value.message} -> {caught.value.remedy}"


def test_outputs_that_fit_no_form_are_refused_with_their_shapes() -> None:
    text = _refused({"y": (1, 12, 9), "m": (1, 12, 24, 32)})
    assert "y [1, 12, 9]" in text
    assert "3 classes of instances" in text


def test_only_candidates_that_reach_the_smallest_score_are_resized() -> None:
    file = instance_file(files.query_file(), files.instance_external(score=0.9), source="f")
    model = onnx.load_model_from_string(file.data)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("sized"))
    frames = files.instance_frame(1)[None]
    values = infer_on_cpu(model.SerializeToString())(frames)
    assert values["sized"].shape[1] == max(1, (values["scores"] > 0).sum()) < 16


def test_masks_at_another_stride_than_stated_are_refused() -> None:
    spec = ModelSpec(height=48, width=64, task="instances", mask_stride=4)
    shapes = {"c": (1, 12, 4), "m": (1, 12, 24, 32)}
    with pytest.raises(ArgumentError, match="stride of 2 of an input of 64x48, but the input spec"):
        recognise(shapes, spec, classes=4, source="f.onnx")
    assert "no stride of 1, 2, 4" in _refused({"c": (1, 12, 4), "m": (1, 12, 24, 40)})


def test_a_small_mask_that_may_cover_box_or_image_is_refused_with_the_choices() -> None:
    spec = ModelSpec(height=448, width=448, task="instances")
    shapes = {"dets": (1, 9, 5), "labels": (1, 9), "masks": (1, 9, 28, 28)}
    with pytest.raises(ArgumentError, match="several forms: detections, crops"):
        recognise(shapes, spec, classes=4, source="f.onnx")


def test_two_classes_make_rows_of_detections_and_of_anchors_alike() -> None:
    shapes = {"output0": (1, 300, 10), "output1": (1, 4, 12, 16)}
    assert "prototypes, coefficients" in _refused(shapes, classes=3)
    named = ModelSpec(height=48, width=64, task="instances", form="coefficients")
    assert recognise(shapes, named, classes=3, source="f").name == "coefficients"


def test_one_sigmoid_more_than_classes_is_refused_until_the_unused_one_is_named() -> None:
    text = _refused({"dets": (1, 12, 4), "labels": (1, 12, 4), "masks": (1, 12, 24, 32)})
    assert "output labels has 4 sigmoids for 3 classes" in text
    assert 'unused = "last"' in text
    assert 'unused = "first"' in text
    # Without boxes the fourth one is "no object" of a softmax.
    spec = ModelSpec(height=48, width=64, task="instances")
    shapes = {"labels": (1, 12, 4), "masks": (1, 12, 24, 32)}
    assert recognise(shapes, spec, classes=4, source="f").name == "queries"


@pytest.mark.parametrize(("unused", "wanted"), [("first", [3, 1]), ("last", [2, 1])])
def test_classes_follow_the_unused_sigmoid(
    unused: Literal["first", "last"], wanted: list[int]
) -> None:
    # The unused sigmoid is the largest one of the second query: it must not count.
    logits = np.array([[-9, -1, -8, 5], [-9, 2, -9, -9]], np.float32)
    if unused == "last":
        logits = np.array([[-1, 5, -8, -9], [2, -9, -9, 6]], np.float32)
    else:
        logits[1, 0] = 6
    spec = ModelSpec(height=48, width=64, task="instances", unused=unused)
    values = {"logits": logits, "masks": np.ones((2, 24, 32), np.float32), "boxes": logits}
    found = FORMS["queries"].candidates(values, spec, 4)
    assert found.classes.tolist() == wanted
    best = np.array([5, 2], np.float32)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-best)), rtol=1e-6)


@pytest.mark.parametrize("classes", [4, 5])
def test_boxes_and_logits_of_one_size_need_names(classes: int) -> None:
    text = _refused({"0": (1, 12, 4), "1": (1, 12, 4), "2": (1, 12, 24, 32)}, classes=classes)
    assert "outputs 0 and 1 have the size of boxes" in text
    assert "pred_boxes" in text
    named = {"pred_boxes": (1, 12, 4), "1": (1, 12, 4), "2": (1, 12, 24, 32)}
    spec = ModelSpec(height=48, width=64, task="instances", unused="last")
    roles = recognise(named, spec, classes=classes, source="f").roles
    assert (roles["boxes"].output, roles["logits"].output) == ("pred_boxes", "1")


def test_relative_boxes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="expected pixels of the input"):
        instance_file(
            files.crop_file(relative=True), files.instance_external(score=0.3), source="f"
        )


def test_outputs_that_fit_two_forms_are_refused_with_the_choices() -> None:
    # With five classes, five values of a detection are class logits of a query too.
    text = _refused({"y": (1, 8, 5), "labels": (1, 8), "b": (1, 8, 24, 32)}, classes=6)
    assert "queries, detections" in text
    assert "--form" in text


def test_a_named_form_must_fit() -> None:
    assert "does not fit the form prototypes" in _refused({"y": (1, 12, 4)}, form="prototypes")
    assert "name one of queries" in _refused({"y": (1, 12, 4)}, form="yolo")


def test_classes_beyond_the_table_are_refused() -> None:
    with pytest.raises(ArgumentError, match="but the class table has 3 classes"):
        instance_file(
            files.detection_file(highest=6), files.instance_external(score=0.1), source="f"
        )
