"""Regions that are no instruments are not drawn: specks, strips, hidden ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.location import LocationOptions
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.draw.reported import reported_labels
from trocar.runtime.locate.instruments import locate

TABLE = ClassTable(
    (
        ClassRow(id=0, name="background", colour=(0, 0, 0)),
        ClassRow(id=1, name="shaft", colour=(0, 114, 178), instrument=True, part="shaft"),
        ClassRow(id=2, name="manipulator", colour=(230, 159, 0), instrument=True, part="tip"),
        ClassRow(id=3, name="liver", colour=(90, 60, 60)),
    )
)
FRAME = (200, 400)


def scene() -> NDArray[np.uint8]:
    """Two instruments that touch, a speck, a strip along the border and tissue; half the frame."""
    labels = np.zeros((100, 200), np.uint8)
    labels[40:52, :60] = 1
    labels[40:52, 60:80] = 2
    labels[45:60, 80:100] = 2
    labels[50:62, 100:] = 1
    labels[10:13, 120:123] = 2
    labels[97:, 20:90] = 1
    labels[80:90, 150:170] = 3
    return labels


def reported(labels: NDArray[np.uint8]) -> tuple[Instrument, ...]:
    return locate(labels, None, TABLE, FRAME, LocationOptions())


def test_what_no_instrument_holds_is_background_and_other_classes_stay() -> None:
    labels = scene()
    found = reported(labels)
    assert len(found) == 2
    expected = labels.copy()
    expected[10:13, 120:123] = 0
    expected[97:, 20:90] = 0
    assert np.array_equal(reported_labels(labels, found, TABLE, FRAME), expected)
    only_tissue = np.where(labels == 3, labels, 0)
    assert np.array_equal(reported_labels(labels, (), TABLE, FRAME), only_tissue)


def test_a_speck_in_the_box_of_an_instrument_is_left_out_and_a_fragment_stays() -> None:
    labels = np.zeros((100, 200), np.uint8)
    for i in range(60):
        labels[20 + i : 28 + i, 2 * i : 2 * i + 8] = 1
    labels[30:33, 100:104] = 2
    with_fragment = labels.copy()
    with_fragment[30:34, 100:104] = 2
    found = reported(labels)
    assert len(found) == 1
    expected = np.where(labels == 2, 0, labels)
    assert np.array_equal(reported_labels(labels, found, TABLE, FRAME), expected)
    assert reported_labels(with_fragment, found, TABLE, FRAME) is with_fragment


def test_nothing_is_copied_where_all_is_reported() -> None:
    labels = scene()
    labels[10:13, 120:123] = 0
    labels[97:] = 0
    assert reported_labels(labels, reported(labels), TABLE, FRAME) is labels


def test_the_overlay_leaves_them_out_when_it_is_asked_to() -> None:
    labels = scene()
    result = FrameResult(
        frame_id=0,
        time=0.0,
        captured_ns=0,
        age_ms=0.0,
        frame_size=FRAME,
        labels=labels,
        instruments=reported(labels),
    )
    image = np.full((*FRAME, 3), 120, np.uint8)
    speck = (slice(20, 26), slice(240, 246))
    for only, changed in ((False, True), (True, False)):
        options = OverlayOptions(show=("masks",), reported_only=only, legend=False)
        picture = Painter(TABLE, options).draw(image, result)
        assert (picture[speck] != image[speck]).any() == changed
        assert (picture[90:94, 20:60] != image[90:94, 20:60]).all()
