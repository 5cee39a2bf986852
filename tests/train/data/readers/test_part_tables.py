"""Every set of parts gives parts that join: one instrument, with the tips at its end."""

from __future__ import annotations

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.location import notes_on_parts
from trocar.runtime.locate.instruments import locate
from trocar.train.data.phantom.config import parts_table
from trocar.train.data.readers import endovis2015, endovis2015_robotic, endovis2017, endovis2018
from trocar.train.data.readers.sar_rarp50 import TABLE as SAR_RARP50

TABLES = {
    "EndoVis 2015 rigid": (endovis2015.PARTS_TABLE, "shaft", "manipulator"),
    "EndoVis 2015 robotic": (endovis2015_robotic.PARTS_TABLE, "shaft", "manipulator"),
    "EndoVis 2017": (endovis2017.TABLES["parts"], "shaft", "claspers"),
    "EndoVis 2018 parts": (endovis2018.TABLES["parts"], "shaft", "clasper"),
    "EndoVis 2018 scene": (endovis2018.TABLES["scene"], "shaft", "clasper"),
    "SAR-RARP50": (SAR_RARP50, "tool shaft", "tool clasper"),
    "phantom": (parts_table(), "shaft", "clasper"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_shaft_and_its_end_are_one_instrument(name: str) -> None:
    table, shaft, end = TABLES[name]
    labels = np.zeros((256, 320), np.uint8)
    labels[100:130, :150] = table[shaft].id
    labels[95:135, 150:200] = table[end].id
    (found,) = locate(labels, None, table, (256, 320))
    assert found.class_name == "instrument"
    assert found.box == (0.0, 95.0, 200.0, 135.0)
    assert found.tips[0][0] > 190
    assert notes_on_parts(table) == []


def test_instruments_without_parts_stay_kinds_of_their_own() -> None:
    table = endovis2018.TABLES["scene"]
    assert (table["suction"].type, table["suction"].part) == ("suction", "")
    assert isinstance(table, ClassTable)
    assert not table["thread"].instrument
