"""`trocar config` names the library of this installation; programs are built against it."""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from trocar import native_library
from trocar.contract.errors import BackendError, MissingExtraError
from trocar.native_library import find_native

Run = Callable[..., int]


def installed(folder: Path, machine: int) -> Path:
    """A prefix with a file that has the header of a library for a machine."""
    (folder / "lib" / "cmake" / "trocar").mkdir(parents=True)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine)
    (folder / "lib" / "libtrocar.so.0").write_bytes(header)
    return folder


THIS = {"x86_64": 62, "aarch64": 183}


def test_paths_are_printed_one_a_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    native = installed(tmp_path / "native", THIS[platform.machine()])
    monkeypatch.setattr(native_library.find_native, "__defaults__", (native,))
    assert run("config", "--library", "--cmake-dir") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(native / "lib" / "cmake" / "trocar"),
        str(native / "lib" / "libtrocar.so.0"),
    ]
    assert run("config") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_installation_without_it_says_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native_library.find_native, "__defaults__", (tmp_path / "none",))
    assert run("config", "--include") == 10
    said = capsys.readouterr().err
    assert "has no libtrocar" in said
    assert "TROCAR_CPP=1 pip install ." in said
    with pytest.raises(MissingExtraError):
        find_native(tmp_path)


def test_a_library_of_another_machine_is_refused(tmp_path: Path) -> None:
    other = next(number for name, number in THIS.items() if name != platform.machine())
    with pytest.raises(BackendError, match="is for another machine: it is for ") as caught:
        find_native(installed(tmp_path / "a", other))
    assert f"install the wheel for {platform.machine()}" in caught.value.remedy
    text = installed(tmp_path / "b", other)
    (text / "lib" / "libtrocar.so.0").write_text("no library at all")
    with pytest.raises(BackendError, match="it is for no Linux machine"):
        find_native(text)


def test_the_console_script_and_cmake_agree_on_the_layout() -> None:
    """The folders that the command names are those that CMake installs into."""
    from places import ROOT

    text = (ROOT / "runtime" / "cpp" / "CMakeLists.txt").read_text()
    for folder in ("${CMAKE_INSTALL_LIBDIR}/cmake/trocar", "${CMAKE_INSTALL_LIBDIR}/pkgconfig"):
        assert folder in text
    assert '"CMAKE_INSTALL_LIBDIR": "lib"' in (ROOT / "setup.py").read_text()
