"""Strict JSON: the range of integers, the depth, and what a manifest refuses to write."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace

import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import BundleError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.text import strict_json
from trocar.contract.text.strict_json import MAX_DEPTH, MAX_INTEGER, parse_json

MANIFEST = Manifest(
    name="toy",
    task="segmentation",
    method="supervised",
    classes=ClassTable.from_names(["background", "grasper"]),
    input=InputSpec(height=32, width=40),
)


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_are_read_up_to_the_limit(sign: int) -> None:
    assert MAX_INTEGER == 9007199254740991
    assert parse_json(str(sign * MAX_INTEGER)) == sign * MAX_INTEGER
    for digits in ("9007199254740992", "9007199254740993", "1" + "0" * 16, "1" + "0" * 5000):
        with pytest.raises(ValueError, match="an integer is beyond"):
            parse_json(digits if sign > 0 else f"-{digits}")


def test_reals_have_no_such_limit() -> None:
    assert parse_json("9007199254740993.0") == 2.0**53
    assert parse_json("-1e300") == -1e300


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_the_depth_is_limited(brackets: str) -> None:
    def nested(levels: int) -> str:
        opening = '{"a":' if brackets == "{}" else "["
        return opening * (levels - 1) + brackets + brackets[1] * (levels - 1)

    assert parse_json(nested(MAX_DEPTH)) is not None
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} levels"):
        parse_json(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '"\\ud800"', b"\xff", "[1", "[1] 2"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)


@pytest.mark.parametrize("value", [MAX_INTEGER + 1, float("nan"), "\ud800"])
def test_a_manifest_that_cannot_be_read_is_not_written(value: object) -> None:
    with pytest.raises(BundleError, match="the manifest of toy cannot be written"):
        replace(MANIFEST, extra={"value": value}).to_json()


def test_every_member_is_written_and_read_back() -> None:
    full = replace(
        MANIFEST,
        golden_margin=0.5,
        source={"seed": MAX_INTEGER},
        extra={"threshold": 0.25},
        files={"model.onnx": "0" * 64},
    )
    assert Manifest.from_json(full.to_json()) == full
    assert list(json.loads(full.to_json())) == [
        "name", "task", "method", "classes", "input", "outputs", "precision", "golden_margin",
        "source", "extra", "files", "schema",
    ]  # fmt: skip


def test_the_examples_give_what_they_state() -> None:
    assert doctest.testmod(strict_json).attempted > 0
    assert doctest.testmod(strict_json).failed == 0
