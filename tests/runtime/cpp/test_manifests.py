"""Both languages judge the same manifests alike."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.contract.errors import ERRORS, TrocarError
from trocar.contract.location import LocationOptions
from trocar.contract.manifest import Manifest

FILES = sorted((Path(__file__).parents[2] / "manifests").glob("*.json"))


def python_code(text: bytes) -> int:
    try:
        Manifest.from_json(text)
    except TrocarError as error:
        return error.code
    return 0


def cpp_code(library: str, text: bytes) -> int:
    code: int = ctypes.CDLL(library).trocar_check_manifest(text, ctypes.c_size_t(len(text)), None)
    return code


def test_there_are_manifests() -> None:
    codes = {int(file.name.split("_")[0]) for file in FILES}
    assert codes == {0, 4, 6}
    assert len(FILES) > 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_both_give_the_expected_code(file: Path, library: str) -> None:
    expected = int(file.name.split("_")[0])
    text = file.read_bytes()
    assert (python_code(text), cpp_code(library, text)) == (expected, expected)


PLAIN = json.loads((Path(__file__).parents[2] / "manifests" / "0_plain.json").read_bytes())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=8,
)
KEYS = (
    [(key,) for key in PLAIN]
    + [("input", key) for key in PLAIN["input"]]
    + [("classes", 1, key) for key in PLAIN["classes"][1]]
    + [("location", key) for key in LocationOptions().to_dict()]
)


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(KEYS), value=JSON)
def test_both_agree_when_any_member_is_replaced(path: tuple, value: object, library: str) -> None:
    document = json.loads(json.dumps(PLAIN)) | {"location": LocationOptions().to_dict()}
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    text = json.dumps(document).encode()
    assert python_code(text) == cpp_code(library, text)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_both_agree_when_bytes_change(data: st.DataObject, library: str) -> None:
    text = bytearray(json.dumps(PLAIN, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert python_code(bytes(text)) == cpp_code(library, bytes(text))


def test_codes_are_the_header_s(cpp: ModuleType, library: str) -> None:
    header = (Path(cpp.__file__).parents[1] / "include" / "trocar" / "trocar.h").read_text()
    name_of = ctypes.CDLL(library).trocar_status_name
    name_of.restype = ctypes.c_char_p
    for error in ERRORS:
        assert name_of(error.code).decode() == error.__name__
        assert f"= {error.code}," in header or f"= {error.code} " in header
    assert name_of(len(ERRORS) + 1) == b"unknown"
    assert name_of(-1) == b"unknown"
