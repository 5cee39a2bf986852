from __future__ import annotations

import numpy as np
import pytest

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import DataError


def test_round_trip_through_toml(tmp_path) -> None:
    table = ClassTable(
        (
            ClassRow(id=0, name="background", colour=(0, 0, 0)),
            ClassRow(id=1, name='L-hook "electro"', colour=(1, 2, 3), grey=70, instrument=True),
            ClassRow(id=2, name="Leber", colour=(9, 9, 9), type="tissue", part=""),
        )
    )
    table.write(tmp_path / "classes.toml")
    assert ClassTable.read(tmp_path / "classes.toml") == table


def test_names_make_a_table_with_distinct_colours() -> None:
    table = ClassTable.from_names([f"c{i}" for i in range(13)])
    assert len({row.colour for row in table}) == 13
    assert table.rows[0].colour == (0, 0, 0)
    assert table.instrument_ids == tuple(range(1, 13))
    assert table["c3"].id == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows"),
        ([{"id": 1, "name": "a"}], "expected 0..0"),
        ([{"id": 0, "name": "a"}, {"id": 1, "name": "a"}], "used twice"),
        ([{"id": 0, "name": " "}], "empty"),
        ([{"id": 0, "name": "a", "colour": [0, 0, 256]}], "0..255"),
        ([{"id": 0, "name": "a", "colour": [0, 0]}], "row 0"),
        ([{"id": "0", "name": "a"}], "row 0"),
        ([{"name": "a"}], "row 0"),
        ([{"id": i, "name": str(i)} for i in range(256)], "255 at most"),
    ],
)
def test_unusable_tables_are_refused_in_words(rows, words) -> None:
    with pytest.raises(DataError, match=words):
        ClassTable.from_dicts(rows)


@pytest.mark.parametrize("text", ["", "classes = []", "classes = 3", "[classes]\nid = 0"])
def test_a_file_without_rows_is_refused_with_an_example(tmp_path, text) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"(?s)has no class table.*\[\[classes\]\]"):
        ClassTable.read(path)


def test_a_row_is_an_instrument_only_when_it_says_so() -> None:
    rows = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}, {"id": 2, "name": "c"}]
    rows[2]["instrument"] = True
    assert ClassTable.from_dicts(rows).instrument_ids == (2,)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(DataError, match=r"used twice.*outside"):
        ClassTable.from_dicts(
            [{"id": 0, "name": "a"}, {"id": 1, "name": "a", "colour": [300, 0, 0]}]
        )


def test_greys_default_to_ids_and_warn_when_colours_merge() -> None:
    table = ClassTable.from_dicts(
        [
            {"id": 0, "name": "a", "colour": [0, 0, 0]},
            {"id": 1, "name": "b", "colour": [100, 100, 100]},
            {"id": 2, "name": "c", "colour": [100, 100, 100]},
        ]
    )
    assert table.greys == (0, 1, 2)
    with pytest.warns(UserWarning, match="'b' and 'c'"):
        assert table.with_greys_from_colours().greys == (0, 100, 100)


def test_colour_table_paints_a_label_map() -> None:
    table = ClassTable.from_names(["bg", "tool"])
    painted = table.colours[np.array([[0, 1, 200]])]
    assert painted.tolist() == [[[0, 0, 0], list(table[1].colour), [0, 0, 0]]]


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.toml"):
        ClassTable.read(tmp_path / "nowhere.toml")
