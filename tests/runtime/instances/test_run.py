"""Instances are located, drawn and checked one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from instance_bundles import instance_bundle
from instance_files import instance_frame

from trocar.contract.classes import ClassTable
from trocar.contract.errors import BundleError, ConfigError
from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.instances.outputs import check_instance_outputs
from trocar.runtime.locate.instruments import locate, locate_instances
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame, Verdict

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
SIZE = (120, 160)


def crossing() -> np.ndarray:
    """Two bars of one class that cross: the second one is cut in two by the first."""
    instances = np.zeros(SIZE, np.uint8)
    instances[50:70, :120] = 2
    instances[:110, 60:80] = 1
    return instances


def test_crossing_instruments_of_one_class_are_two() -> None:
    instances = crossing()
    found = locate_instances(instances, [1, 1], [0.9, 0.6], TABLE, SIZE)
    assert [(one.instance, one.score, one.box) for one in found] == [
        (1, 0.9, (60.0, 0.0, 80.0, 110.0)),
        (2, 0.6, (0.0, 50.0, 120.0, 70.0)),
    ]
    labels = (instances > 0).astype(np.uint8)
    assert len(locate(labels, None, TABLE, SIZE)) == 1
    for one in found:
        assert one.mask is not None
        np.testing.assert_array_equal(one.mask.full(), instances == one.instance)
        assert one.entry is not None
        assert len(one.tips) == 1


def test_specks_of_an_instance_do_not_change_its_measures() -> None:
    instances = crossing()
    clean = locate_instances(instances, [1, 1], [0.9, 0.6], TABLE, SIZE)
    instances[118, 150:153] = 1
    assert locate_instances(instances, [1, 1], [0.9, 0.6], TABLE, SIZE) == clean


def test_classes_that_are_no_instruments_are_not_located() -> None:
    rows = (TABLE[0], TABLE[1], replace(TABLE[2], instrument=False))
    found = locate_instances(crossing(), [2, 1], [0.9, 0.6], ClassTable(rows), SIZE)
    assert [one.instance for one in found] == [2]


def test_the_overlay_outlines_instances_of_one_class_apart() -> None:
    instances = np.zeros(SIZE, np.uint8)
    instances[40:80, 20:80], instances[40:80, 80:140] = 1, 2
    labels = (instances > 0).astype(np.uint8)
    result = FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=SIZE, labels=labels,
        instances=instances,
    )  # fmt: skip
    painter = Painter(TABLE, OverlayOptions(show=("contours",), legend=False))
    image = np.full((*SIZE, 3), 90, np.uint8)
    together = painter.draw(image, replace(result, instances=None))
    apart = painter.draw(image, result)
    seam = np.s_[55:65, 76:84]
    assert (together[seam] == 90).all()
    assert (apart[seam] != 90).any()
    # Nothing is reported, so nothing is drawn.
    reported = Painter(TABLE, OverlayOptions(show=("contours",), legend=False, reported_only=True))
    assert (reported.draw(image, result) == 90).all()


def test_fast_resize_of_a_padded_model_is_refused(tmp_path: Path) -> None:
    padded = instance_bundle(tmp_path / "m.trocar", resize="letterbox")
    with pytest.raises(ConfigError, match="pads frames"):
        Session.open(padded, fast_resize=True)


@pytest.mark.parametrize("name", ["instances", "labels", "classes", "scores", "boxes", "count"])
def test_outputs_that_do_not_fit_are_refused(name: str) -> None:
    outputs = {
        "instances": np.zeros((1, 4, 5), np.uint8),
        "labels": np.zeros((1, 4, 5), np.uint8),
        "classes": np.zeros((1, 3), np.uint8),
        "scores": np.zeros((1, 3), np.float32),
        "boxes": np.zeros((1, 3, 4), np.float32),
        "count": np.zeros(1, np.int32),
    }
    check_instance_outputs(outputs, source="m")
    with pytest.raises(BundleError, match=name):
        check_instance_outputs({k: v for k, v in outputs.items() if k != name}, source="m")
    with pytest.raises(BundleError, match="wrong type or shape"):
        check_instance_outputs({**outputs, name: outputs[name][..., None]}, source="m")
    with pytest.raises(BundleError, match="instance 4, but at most 3"):
        check_instance_outputs({**outputs, "instances": outputs["instances"] + 4}, source="m")


@pytest.mark.parametrize("is_covered", [True, False])
def test_nothing_is_found_in_a_covered_picture(tmp_path: Path, is_covered: bool) -> None:
    with Session.open(instance_bundle(tmp_path / "m.trocar")) as session:
        image = instance_frame(3)
        verdict = Verdict(outside=is_covered, covered=is_covered)
        frame = Frame(image=image, index=0, time=0.0, captured_ns=0, body=verdict)
        result = FrameProcessor(session)(frame)
    assert result.instances is not None
    assert result.labels is not None
    assert result.instances.any() != is_covered
    assert result.labels.any() != is_covered
    assert (result.instance_count == 0) == is_covered
    assert (len(result.instruments) == 0) == is_covered
