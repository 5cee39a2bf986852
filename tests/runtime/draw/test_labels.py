"""Labels: free places that stay, a stated order of what is left out, and every word of ``show``."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.labels.placement import MAX_LABELS, PATIENCE, LabelPlacer
from trocar.runtime.draw.labels.scene import LabelWish
from trocar.runtime.draw.overlay import Layout, OverlayOptions, Painter
from trocar.runtime.draw.show import PARTS, show_from

NAMES = (
    "background",
    "grasper",
    "Nadelhalter größer",
    "持针器",
    "a very long name of a class " * 3,
)
TABLE = ClassTable.from_names(NAMES)
SIZES = ((576, 720), (1080, 1920), (48, 64), (640, 360), (1, 1), (33, 1001))


def instrument(
    box: tuple[float, float, float, float], *, kind: int = 1, track: int | None = None
) -> Instrument:
    x0, y0, x1, y1 = box
    return Instrument(
        class_id=kind, class_name=NAMES[kind], score=0.87, box=box, track_id=track,
        centroid=((x0 + x1) / 2, (y0 + y1) / 2), area=(x1 - x0) * (y1 - y0) / 3, axis=(0.8, 0.6),
        angle=37, tips=((x1 - 0.5, y1 - 0.5),),
    )  # fmt: skip


def result(size: tuple[int, int], *instruments: Instrument) -> FrameResult:
    labels = np.zeros((60, 80), np.uint8)
    for one in instruments:
        x0, y0, x1, y1 = one.box
        rows = slice(int(y0 * 60 / size[0]), int(y1 * 60 / size[0]) + 1)
        labels[rows, int(x0 * 80 / size[1]) : int(x1 * 80 / size[1]) + 1] = one.class_id
    return FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=size, labels=labels,
        instruments=instruments,
    )  # fmt: skip


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def check(layout: Layout, size: tuple[int, int]) -> None:
    """No label touches another one, the legend or the status line, and all are in the picture."""
    rectangles = [label.rectangle for label in layout.labels]
    fixed = [one for one in (layout.legend, layout.status) if one is not None]
    for x0, y0, x1, y1 in [*rectangles, *fixed]:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
    assert not any(overlap(a, b) for a, b in combinations(rectangles, 2))
    assert not any(overlap(a, b) for a in rectangles for b in fixed)


boxes = st.tuples(
    *[st.floats(0, 0.98) for _ in range(2)], *[st.floats(0.01, 0.9) for _ in range(2)]
)


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from(SIZES),
    places=st.lists(boxes, max_size=40),
    kind=st.integers(1, len(NAMES) - 1),
    show=st.sampled_from(["masks,labels,ids", "boxes,labels,tips,ids", "ids", ",".join(PARTS)]),
)
def test_labels_never_overlap_cover_the_legend_or_leave_the_picture(
    size: tuple[int, int], places: list[tuple[float, ...]], kind: int, show: str
) -> None:
    height, width = size
    painter = Painter(TABLE, OverlayOptions(show=show_from(show)))
    frame = np.full((height, width, 3), 90, np.uint8)
    for shift in (0, 1, 9):
        found = []
        for number, (x, y, w, h) in enumerate(places):
            x0, y0 = min(x * width + shift, width - 1), y * height
            x1, y1 = min(width, x0 + 1 + w * width), min(height, y0 + 1 + h * height)
            chosen = 1 + (kind + number) % (len(NAMES) - 1)
            found.append(instrument((x0, y0, x1, y1), kind=chosen, track=number))
        picture, layout = painter.draw_with_layout(
            frame, result(size, *found), status="FAULT   no mask   the camera is black"
        )
        assert picture.shape == frame.shape
        check(layout, size)
        assert len({label.wish for label in layout.labels}) == len(layout.labels)
        assert len(layout.labels) + layout.unlabelled == len(found)


def test_a_label_stays_where_it_is_while_its_place_is_free() -> None:
    placer = LabelPlacer()
    rng = np.random.default_rng(0)
    corners = []
    for _ in range(3 * PATIENCE):
        x, y = 300 + rng.normal(0, 1.5), 200 + rng.normal(0, 1.5)
        wish = LabelWish(
            size=(120, 20), box=(x - 90, y - 60, x + 90, y + 60), area=9e3, centre=(x, y), key=7
        )
        corners.append(placer.place([wish], (480, 640))[0].rectangle[:2])
    assert len(set(corners)) <= 2, "noise of the box moves the label"
    before = corners[-1]
    for step in range(1, 41):
        x = 300 + 4 * step
        wish = LabelWish(
            size=(120, 20), box=(x - 90, 140, x + 90, 260), area=9e3, centre=(x, 200), key=7
        )
        corner = placer.place([wish], (480, 640))[0].rectangle[:2]
        assert abs(corner[0] - before[0]) <= 5, "it follows its instrument without a jump"
        before = corner
    assert 140 < before[0] - corners[-1][0] <= 160


def test_a_newcomer_takes_no_place_and_a_better_place_is_taken_late() -> None:
    size = (480, 640)
    first = LabelWish(size=(100, 20), box=(200, 200, 320, 260), area=7e3, centre=(260, 230), key=1)
    larger = LabelWish(size=(100, 20), box=(200, 200, 330, 270), area=9e4, centre=(265, 235), key=2)
    placer = LabelPlacer()
    place = placer.place([first], size)[0].rectangle
    for _ in range(3):
        placed = {p.wish: p.rectangle for p in placer.place([first, larger], size)}
        assert placed[0] == place
    # A wall round the instrument sends the label away, with a leader line.
    wall = [(60, 100, 460, 360)]
    away = placer.place([first], size, blocked=wall)[0]
    assert away.away
    assert not overlap(away.rectangle, wall[0])
    corners = [placer.place([first], size)[0] for _ in range(3 * PATIENCE)]
    assert corners[0].rectangle == away.rectangle
    assert not corners[-1].away, "it comes back when the place at the instrument is free for long"


def test_labels_avoid_tips_and_instruments_where_they_can() -> None:
    def place(labels: np.ndarray | None, *tips: tuple[float, float]) -> tuple[int, int, int, int]:
        wish = LabelWish(
            size=(100, 20), box=(200, 205, 300, 260), area=5e3, centre=(250, 230), tips=tips
        )
        return LabelPlacer().place([wish], (480, 640), labels=labels)[0].rectangle

    first = place(None)
    tip = (first[0] + 50.0, first[1] + 10.0)
    second = place(None, tip)
    assert not overlap(second, (int(tip[0]), int(tip[1]), int(tip[0]) + 1, int(tip[1]) + 1))
    labels = np.zeros((48, 64), np.uint8)
    labels[first[1] // 10 : first[3] // 10 + 1, first[0] // 10 : first[2] // 10 + 1] = 1
    third = place(labels)
    covered = labels[third[1] // 10 : -(-third[3] // 10), third[0] // 10 : -(-third[2] // 10)]
    assert covered.mean() < 0.5


def test_the_labels_of_the_smallest_are_left_out_and_counted() -> None:
    size = (1080, 1920)
    found = [
        instrument((40 * n, 100, 40 * n + 30 + n, 140 + n), track=n) for n in range(2 * MAX_LABELS)
    ]
    frame = np.zeros((*size, 3), np.uint8)
    _, layout = Painter(TABLE).draw_with_layout(frame, result(size, *found))
    check(layout, size)
    assert {label.wish for label in layout.labels} == set(range(MAX_LABELS, 2 * MAX_LABELS))
    assert layout.unlabelled == MAX_LABELS
    # In a small picture there is room for fewer: again the largest have them.
    small = (240, 320)
    found = [
        instrument((x, y, x + 20 + n, y + 20 + n), track=n)
        for n, (x, y) in enumerate((x, y) for y in (10, 70, 130, 180) for x in range(0, 280, 45))
    ]
    frame = np.zeros((*small, 3), np.uint8)
    _, layout = Painter(TABLE).draw_with_layout(frame, result(small, *found))
    check(layout, small)
    shown = {label.wish for label in layout.labels}
    assert 0 < len(shown) < len(found)
    assert min(shown) == len(found) - len(shown)


def test_specks_have_a_thin_box_and_no_label() -> None:
    size = (1080, 1920)
    speck, tool = instrument((900, 500, 906, 506)), instrument((200, 200, 700, 500))
    frame = np.zeros((*size, 3), np.uint8)
    painter = Painter(TABLE, OverlayOptions(show=("boxes", "labels", "tips")))
    picture, layout = painter.draw_with_layout(frame, result(size, speck, tool))
    assert [label.wish for label in layout.labels] == [1]
    assert layout.unlabelled == 1
    assert not picture[515:540, 880:930].any(), "the mark of its tip would be larger than itself"
    assert picture[500:506, 900:906].any()


@pytest.mark.parametrize("word", [*PARTS, "none"])
def test_each_word_shows_its_part_and_nothing_else(word: str) -> None:
    size = (540, 720)
    one = instrument((120, 120, 420, 360), track=3)
    frame = np.full((*size, 3), 60, np.uint8)
    options = OverlayOptions(show=show_from(word), legend=False)
    picture, layout = Painter(TABLE, options).draw_with_layout(frame, result(size, one))
    changed = (picture != frame).any(axis=-1)
    inside, edge = changed[200:240, 200:230], changed[115:125, 200:400]
    tip = changed[352:366, 412:426]
    assert inside.all() == (word == "masks")
    assert changed.any() == (word != "none")
    assert tip.any() == (word in ("masks", "contours", "boxes", "tips"))
    assert len(layout.labels) == (word in ("labels", "ids"))
    if word in ("contours", "boxes"):
        assert edge.any()
        assert not inside.any()
    if word == "tips":
        assert changed.sum() == changed[340:378, 400:438].sum()


def test_the_number_alone_is_shorter_than_name_and_score() -> None:
    size = (540, 720)
    frame = np.zeros((*size, 3), np.uint8)
    widths = {}
    for words in ("ids", "labels", "labels,ids"):
        painter = Painter(TABLE, OverlayOptions(show=show_from(words)))
        one = instrument((120, 120, 420, 360), track=3)
        _, layout = painter.draw_with_layout(frame, result(size, one))
        widths[words] = layout.labels[0].rectangle[2] - layout.labels[0].rectangle[0]
    assert widths["ids"] < widths["labels"] < widths["labels,ids"]
    painter = Painter(TABLE, OverlayOptions(show=("ids",)))
    _, layout = painter.draw_with_layout(frame, result(size, instrument((120, 120, 420, 360))))
    assert layout.labels == ()
    assert layout.unlabelled == 0


def test_words_are_read_and_unknown_ones_name_the_choices() -> None:
    assert show_from("none") == ()
    assert show_from(" tips, Masks ,tips") == ("masks", "tips")
    with pytest.raises(ConfigError, match=r"'mask' is not known .did you mean masks") as error:
        show_from("mask,ids")
    assert "masks,contours,boxes,labels,tips,ids" in error.value.remedy
    with pytest.raises(ConfigError, match="'none' alone"):
        show_from("none,ids")
    with pytest.raises(ConfigError, match="'' is not known"):
        show_from("")
    with pytest.raises(ConfigError, match="'box' is not known"):
        OverlayOptions(show=("box",))
    with pytest.raises(ConfigError, match=r"opacity is 1\.5"):
        OverlayOptions(opacity=1.5)


def test_many_classes_are_counted_in_the_legend() -> None:
    table = ClassTable.from_names(["background", *(f"class number {n}" for n in range(100))])
    size = (540, 720)
    labels = np.arange(101, dtype=np.uint8).repeat(6)[None].repeat(60, axis=0)
    shown = FrameResult(frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=size, labels=labels)
    frame = np.zeros((*size, 3), np.uint8)
    picture, layout = Painter(table).draw_with_layout(frame, shown)
    assert layout.legend is not None
    assert layout.legend[3] <= 280
    assert picture.shape == frame.shape
    _, tiny = Painter(table).draw_with_layout(np.zeros((48, 64, 3), np.uint8), shown)
    assert tiny.legend is None
