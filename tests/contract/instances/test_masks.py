"""Masks as run lengths and polygons, and results for other tools."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from trocar.contract.errors import DataError, MissingExtraError
from trocar.contract.instances.exchange import (
    coco_results,
    supervision_detections,
    write_coco_results,
)
from trocar.contract.instances.masks import Mask
from trocar.contract.instances.run_lengths import compressed_from_mask, mask_from_compressed
from trocar.contract.results import FrameResult, Instrument

# pycocotools returns arrays of its own class.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def random_mask(rng: np.random.Generator) -> NDArray[np.bool_]:
    height, width = rng.integers(1, 70, 2)
    mask = rng.random((height, width)) < rng.random()
    if rng.random() < 0.5:
        mask[: height // 2] = True
    return mask


def test_run_lengths_are_those_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    masks = [random_mask(rng) for _ in range(80)]
    large = np.zeros((900, 1400), np.bool_)
    large[200:700, 100:1300] = True
    for mask in (*masks, large, ~large, np.ones((1, 1), np.bool_), np.zeros((3, 1), np.bool_)):
        text = compressed_from_mask(mask)
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        assert text == expected.decode()
        np.testing.assert_array_equal(mask_from_compressed(text, mask.shape), mask)


@pytest.mark.parametrize("text", ["", "1", "~~~~", "oooooooooooooooooo", "\x01", "5é"])
def test_damaged_run_lengths_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        mask_from_compressed(text, (4, 5))


def instrument(mask: Mask, **fields: object) -> Instrument:
    return Instrument(
        class_id=2, class_name="scissors", score=0.75, box=(6.0, 4.0, 10.0, 8.0),
        centroid=(7.0, 5.0), area=12.0, axis=(1.0, 0.0), angle=0.0, mask=mask, **fields,
    )  # fmt: skip


MASK = Mask(np.array([[1, 1, 0], [1, 0, 0]], np.bool_), 2, 3, (8, 8), (16, 16))


def test_a_polygon_runs_along_the_edges_of_the_pixels() -> None:
    points = np.array(MASK.polygons()[0]).reshape(-1, 2)
    corners = {(6, 4), (10, 4), (10, 6), (8, 6), (8, 8), (6, 8)}
    assert {(float(x), float(y)) for x, y in points} == corners
    assert len(points) == len(corners)


def test_polygons_cover_the_mask() -> None:
    cells = np.zeros((20, 30), np.bool_)
    cells[3:12, 4:25] = True
    cells[5:9, 20:29] = True
    mask = Mask(cells, 5, 7, (40, 50), (40, 50))
    runs = coco_mask.frPyObjects(mask.polygons(), 40, 50)
    np.testing.assert_array_equal(coco_mask.decode(coco_mask.merge(runs)), mask.full())


def test_masks_are_united_and_painted() -> None:
    other = Mask(np.ones((2, 2), np.bool_), 0, 0, (8, 8), (16, 16))
    whole = MASK.united([other])
    np.testing.assert_array_equal(whole.full(), MASK.full() | other.full())
    assert (whole.top, whole.left, whole.pixels.shape) == (0, 0, (4, 6))
    assert MASK.united([]).pixels.tolist() == MASK.pixels.tolist()
    places = np.full((8, 8), 7, np.uint8)
    whole.paint(places, 3)
    np.testing.assert_array_equal(places == 3, whole.full())


def test_a_mask_at_frame_size_is_the_enlarged_one() -> None:
    np.testing.assert_array_equal(MASK.at_frame_size(), MASK.full().repeat(2, 0).repeat(2, 1))
    runs = MASK.run_lengths(at_frame_size=True)
    assert runs["size"] == [16, 16]
    decoded = mask_from_compressed(runs["counts"], (16, 16))
    np.testing.assert_array_equal(decoded, MASK.at_frame_size())


def test_masks_stand_in_json_only_on_request() -> None:
    one = instrument(MASK, instance=4)
    assert "mask" not in one.to_dict()
    assert one.to_dict()["instance"] == 4
    assert one.to_dict(masks="rle")["mask"] == MASK.run_lengths()
    assert one.to_dict(masks="polygons")["polygons"] == MASK.polygons()


def result(*instruments: Instrument) -> FrameResult:
    return FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=(16, 16), instruments=instruments
    )


def test_a_coco_result_file_is_read_by_pycocotools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    write_coco_results(file, {7: result(instrument(MASK)), 9: result()})
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": n, "height": 16, "width": 16} for n in (7, 9)],
        "categories": [{"id": 2, "name": "scissors"}],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes(str(file))
    (row,) = loaded.loadAnns(loaded.getAnnIds(imgIds=[7]))
    assert (row["category_id"], row["score"]) == (2, 0.75)
    # The area decides between small, medium and large: of the mask, not of its box.
    assert row["area"] == MASK.at_frame_size().sum() == 12
    assert list(row["bbox"]) == [6.0, 4.0, 4.0, 4.0]
    np.testing.assert_array_equal(loaded.annToMask(row), MASK.at_frame_size())
    assert loaded.getAnnIds(imgIds=[9]) == []
    capsys.readouterr()


def test_an_instrument_without_a_mask_is_a_box_in_coco() -> None:
    (row,) = coco_results(result(replace(instrument(MASK), mask=None)), image_id=7)
    assert row["bbox"] == [6.0, 4.0, 4.0, 4.0]
    assert "segmentation" not in row


def test_supervision_detections(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("supervision")
    fake.Detections = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", fake)
    found = supervision_detections(result(instrument(MASK, track_id=3)))
    assert found.xyxy.tolist() == [[6, 4, 10, 8]]
    assert found.tracker_id.tolist() == [3]
    assert found.data["class_name"].tolist() == ["scissors"]
    np.testing.assert_array_equal(found.mask[0], MASK.at_frame_size())
    assert supervision_detections(result()).xyxy.shape == (0, 4)
    assert supervision_detections(result()).data["class_name"].dtype.kind == "U"
    mixed = supervision_detections(result(instrument(MASK), instrument(MASK, track_id=3)))
    assert mixed.tracker_id.tolist() == [-1, 3]
    assert supervision_detections(result(instrument(MASK))).tracker_id is None


def test_supervision_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError) as caught:
        supervision_detections(result())
    assert caught.value.remedy == "pip install supervision"
