"""What counts as an instrument: options, their checks, and what a class table lacks."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from trocar.contract import location
from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import BundleError, ConfigError
from trocar.contract.location import (
    LEGACY,
    LocationOptions,
    check_for_table,
    notes_on_parts,
    read_location,
)
from trocar.contract.manifest import InputSpec, Manifest


def part(i: int, name: str, **more: Any) -> ClassRow:
    return ClassRow(id=i, name=name, colour=(0, 0, 0), **{"instrument": i > 0, **more})


PARTS = ClassTable(
    (part(0, "background"), part(1, "shaft", part="shaft"), part(2, "jaw", part="jaw"))
)
MANIFEST = Manifest(
    name="m",
    task="segmentation",
    method="supervised",
    classes=PARTS,
    input=InputSpec(height=64, width=80),
)


def test_the_manifest_carries_every_option() -> None:
    options = LocationOptions(min_area=0.01, classes=("instrument",), max_instruments=3)
    text = replace(MANIFEST, location=options).to_json()
    assert set(json.loads(text)["location"]) == {item.name for item in fields(LocationOptions)}
    assert Manifest.from_json(text).location == options
    assert Manifest.from_json(text).location_options == options


def test_a_manifest_without_options_does_what_version_0_1_did() -> None:
    text = MANIFEST.to_json()
    assert "location" not in json.loads(text)
    manifest = Manifest.from_json(text)
    assert manifest.location is None
    assert manifest.location_options is LEGACY
    assert LEGACY.to_dict() == {
        "join_parts": False, "shaft_parts": ["shaft"], "tip_parts": ["clasper", "jaw", "tip"],
        "else_tip_parts": [], "classes": [], "min_area": 0.0005, "min_pixels": 16,
        "min_relative_area": 0.0, "min_score": 0.0, "relative_score": 0.0, "max_instruments": 0,
        "max_regions": 0,
        "border": 2, "view_border": 0.03, "mask_outside_view": False, "strip_depth": 0.0,
        "max_gap": 0.0, "max_angle": 15.0, "max_width_ratio": 2.0,
    }  # fmt: skip


def test_a_missing_key_has_its_old_value_and_an_unknown_one_is_ignored() -> None:
    data = json.loads(MANIFEST.to_json()) | {"location": {"min_area": 0.25, "newer": [1]}}
    assert Manifest.from_json(json.dumps(data)).location == replace(LEGACY, min_area=0.25)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"min_area": -0.1}, "min_area is -0.1, expected 0 to 1"),
        ({"min_area": float("nan")}, "min_area is nan, expected a finite number"),
        ({"min_area": 10**400}, "expected a finite number"),
        ({"min_area": "0.1"}, "min_area is '0.1', expected a finite number"),
        ({"min_pixels": 0}, "min_pixels is 0, expected 1 to"),
        ({"max_regions": 2.0}, "max_regions is 2.0, expected a whole number"),
        ({"join_parts": 1}, "join_parts is 1, expected true or false"),
        ({"classes": "hook"}, "classes is 'hook', expected a list of names"),
        ({"classes": [" "]}, "expected a list of names"),
        ({"classes": ["a", "a"]}, "twice"),
        ({"tip_parts": ["shaft"]}, "shaft is a shaft part and a tip part"),
        ({"mina_area": 0.1}, "'mina_area' is not known (did you mean min_area"),
    ],
)
def test_wrong_values_are_refused_in_words(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LocationOptions().changed(values, source="options.toml")
    assert words in str(caught.value)
    assert "options.toml" in str(caught.value)
    assert "docs/location.md" in caught.value.remedy


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        LocationOptions().changed({"min_area": 2, "classes": 1, "x": 1, "border": -1}, source="s")
    for name in ("min_area", "classes", "'x'", "border"):
        assert name in caught.value.message


def test_a_manifest_with_a_wrong_value_is_malformed() -> None:
    data = json.loads(MANIFEST.to_json()) | {"location": {"min_score": 2}}
    with pytest.raises(BundleError, match="min_score is 2"):
        Manifest.from_json(json.dumps(data))


def test_names_are_checked_with_the_class_table() -> None:
    check_for_table(LocationOptions(classes=("instrument",)), PARTS)
    check_for_table(replace(LEGACY, classes=("jaw",)), PARTS)
    with pytest.raises(ConfigError, match=r"did you mean instrument.*expected some of instrument"):
        check_for_table(LocationOptions(classes=("instument",)), PARTS)
    with pytest.raises(ConfigError, match="tip_parts: 'clsaper' is not known"):
        check_for_table(LocationOptions(tip_parts=("clsaper",)), PARTS)


def test_options_are_read_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "location.toml"
    file.write_text('min_area = 0.002\ntip_parts = ["jaw"]\n')
    assert read_location(file) == {"min_area": 0.002, "tip_parts": ["jaw"]}
    file.write_text("min_are = 0.002\n")
    with pytest.raises(ConfigError, match=r"location\.toml: 'min_are' is not known"):
        read_location(file)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((part(1, "shaft", part="shaft"), part(2, "jaw", part="jaw")), ""),
        ((part(1, "a", part="shaft", type="g"), part(2, "b", part="jaw", type="g")), ""),
        (
            (part(1, "shaft", part="shaft"), part(2, "jaw", part="jaw", type="grasper")),
            "classes shaft state a part but no type, jaw state both: they cannot join",
        ),
        ((part(1, "tool shaft"), part(2, "hook")), "classes tool shaft are named like parts"),
        (
            (part(1, "hook"), part(2, "jaw", part="jaw", instrument=False)),
            "classes jaw state a part but not instrument = true",
        ),
        ((part(1, "hook"), part(2, "liver", instrument=False)), ""),
    ],
)
def test_a_table_whose_parts_cannot_join_is_said(rows: tuple[ClassRow, ...], words: str) -> None:
    notes = notes_on_parts(ClassTable((part(0, "background"), *rows)))
    assert bool(notes) == bool(words)
    assert words in "".join(notes)


def test_examples_of_docstrings() -> None:
    import doctest

    failed, examples = doctest.testmod(location)
    assert (failed, examples >= 3) == (0, True)
