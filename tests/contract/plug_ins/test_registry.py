"""Plug-ins are found without being imported, and their faults are named as theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from plug_in_packages import installed, write_package

from trocar.contract.errors import ConfigError, DataError
from trocar.contract.plug_ins import blamed, guard_methods, load, plug_ins

CODE = """
import math

class Made:
    def read(self):
        return math.sqrt(-1)
    def items(self):
        yield 1
        raise KeyError("two")

def make():
    return Made()

NUMBER = 5
"""


def test_a_plug_in_is_found_and_not_imported(tmp_path: Path) -> None:
    assert "own-part" not in plug_ins("sinks")
    groups = {"trocar.sinks": {"own-part": "parts_a:make"}}
    with installed(tmp_path, "theatre-parts", {"parts_a.py": CODE}, groups):
        found = plug_ins("sinks")["own-part"]
        assert "parts_a" not in sys.modules
        assert (found.package, found.version) == ("theatre-parts", "1.0")
        assert found.summary == "Parts of our theatre"
        assert str(found) == (
            "plug-in own-part of package theatre-parts 1.0 "
            "(entry point trocar.sinks: own-part = parts_a:make)"
        )
        assert load(found)().read
        assert "own-part" not in plug_ins("sinks", own=["own-part"])
        assert "own-part" not in plug_ins("sources")
    assert "own-part" not in plug_ins("sinks")


@pytest.mark.parametrize(
    ("kind", "name", "value", "words"),
    [
        ("sinks", "gone", "parts_gone:make", "ModuleNotFoundError: No module named 'parts_gone'"),
        ("sinks", "no-attribute", "parts_b:other", "AttributeError"),
        ("sinks", "no-function", "parts_b:NUMBER", "it is a int, expected a function"),
        ("readers", "no-reader", "parts_b:make", "has no NAME, TASKS, recognise, scan"),
        ("sinks", "Bad_Name", "parts_b:make", "small letters, digits and single dashes"),
        ("sinks", "leaves", "parts_exit:make", "SystemExit"),
    ],
)
def test_a_fault_names_the_package(
    tmp_path: Path, kind: str, name: str, value: str, words: str
) -> None:
    files = {"parts_b.py": CODE, "parts_exit.py": "raise SystemExit('bye')"}
    with installed(tmp_path, "theatre-parts", files, {f"trocar.{kind}": {name: value}}):
        plug_in = plug_ins(kind)[name]  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=words) as caught:
            load(plug_in)
        assert caught.value.message.startswith(f"plug-in {name} of package theatre-parts 1.0 (")
        assert "pip uninstall theatre-parts" in caught.value.remedy


def test_two_packages_of_one_name_are_an_error_for_that_name(tmp_path: Path) -> None:
    groups = {"trocar.sinks": {"own-part": "parts_c:make", "other": "parts_c:make"}}
    with installed(tmp_path, "first-parts", {"parts_c.py": CODE}, groups):
        groups = {"trocar.sinks": {"own-part": "parts_c:make"}}
        write_package(tmp_path / "more", "second-parts", {}, groups)
        sys.path.append(str(tmp_path / "more"))
        try:
            found = plug_ins("sinks")
            assert load(found["other"])
            with pytest.raises(ConfigError, match="add the same name") as caught:
                load(found["own-part"])
        finally:
            sys.path.remove(str(tmp_path / "more"))
    assert "first-parts" in caught.value.message
    assert "second-parts" in caught.value.message


def test_an_error_of_its_code_is_blamed_on_it_and_no_other(tmp_path: Path) -> None:
    groups = {"trocar.sinks": {"own-part": "parts_d:make"}}
    with installed(tmp_path, "theatre-parts", {"parts_d.py": CODE}, groups):
        plug_in = plug_ins("sinks")["own-part"]
        made = load(plug_in)()
        words = "does not work: ValueError: math domain error"
        with pytest.raises(ConfigError, match=words), blamed(plug_in):
            made.read()
        with pytest.raises(ZeroDivisionError), blamed(plug_in):
            _ = 1 / 0
        with pytest.raises(DataError), blamed(plug_in):
            raise DataError("x", remedy="y")
        with pytest.raises(ZeroDivisionError), blamed(None):
            _ = 1 / 0
        guard_methods(plug_in, made, ("read", "items"))
        with pytest.raises(ConfigError, match="theatre-parts"):
            made.read()
        values = made.items()
        assert next(values) == 1
        with pytest.raises(ConfigError, match="KeyError"):
            next(values)
