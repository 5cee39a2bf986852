from __future__ import annotations

import json

import pytest

from trocar.contract.text.canonical_json import canonical_json, parse_as_written


def canonical(text: str) -> str:
    return canonical_json(parse_as_written(text)).decode("utf-8")


def test_white_space_and_order_do_not_count() -> None:
    assert canonical(' { "b" : [ 1 , true , null ] , "a" : { } } ') == '{"a":{},"b":[1,true,null]}'


def test_numbers_keep_their_characters() -> None:
    assert canonical("[1.0, 1, 1e0, -0, 0.10]") == "[1.0,1,1e0,-0,0.10]"


def test_escapes_have_one_form() -> None:
    assert canonical('"\\u00e9\\/\\n\\u001F\\"\\\\\\ud83d\\ude00"') == (
        '"é/\\u000a\\u001f\\"\\\\\U0001f600"'
    )


def test_names_are_sorted_by_code_points_and_the_last_of_equal_ones_counts() -> None:
    text = '{"\\ud83d\\ude00": 1, "\\uffee": 2, "a": 3, "a": 4, "B": 5}'
    assert canonical(text) == '{"B":5,"a":4,"￮":2,"\U0001f600":1}'


def test_what_the_runtimes_refuse_has_no_form() -> None:
    for text in ("NaN", "[1,]", '"\\ud800"', "9007199254740992"):
        with pytest.raises(ValueError):  # noqa: PT011  (each has its own words)
            canonical(text)
    with pytest.raises(TypeError, match="int"):
        canonical_json(json.loads("1"))
