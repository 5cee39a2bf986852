"""Content of wheel and sdist; a plain install is a working runtime without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from places import ROOT

PURE = {**os.environ, "TROCAR_NO_CPP": "1"}
PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels")


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name]


def expected_in_wheel() -> set[str]:
    """Every committed module of the packages, and the data files that setup.py names."""
    wanted = set()
    for name in tracked():
        top = name.partition("/")[0]
        if top not in (*PACKAGES, "trocar") or name.startswith("runtime/cpp/"):
            continue
        path = name if top == "trocar" else f"trocar/{name}"
        if (
            path.endswith((".py", "py.typed"))
            or path in ("trocar/demo/phantom.ckpt", "trocar/demo/phantom.json")
            or path.startswith("trocar/train/recipes/")
            or path.startswith("trocar/cuda_kernels/kernels/")
            or path.startswith("trocar/runtime/live/monitor/static/")
        ):
            wanted.add(path)
    return wanted


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a clean copy of the commit, and the wheel made from that sdist."""
    out = tmp_path_factory.mktemp("packages")
    copy = out / "copy"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "-o", str(out), str(copy)],
        check=True,
        capture_output=True,
        env=PURE,
    )
    return out


@pytest.mark.slow
def test_the_wheel_holds_what_is_committed_and_nothing_else(archives: Path) -> None:
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert names == expected_in_wheel()


@pytest.mark.slow
def test_the_sdist_holds_real_files(archives: Path) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {m.name.partition("/")[2]: m for m in archive.getmembers()}
    assert members["trocar/contract/bundle.py"].isreg()
    assert members["LICENSE"].isreg()
    assert not any(name.startswith(("tests", ".venv", "demo")) for name in members)
    for name in ("CMakeLists.txt", "src/c_api.cpp", "include/trocar/trocar.h", "cmake/trocar.map"):
        assert members[f"runtime/cpp/{name}"].isreg()
    assert members["scripts/fetch_onnxruntime_headers.sh"].mode & 0o100


@pytest.mark.slow
def test_a_plain_install_is_the_runtime_without_torch(archives: Path, tmp_path: Path) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    # This pip installs into it: no second one, and no bytecode of what is never imported.
    venv = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")]
    subprocess.run(venv, check=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile"]
    subprocess.run(
        [*install, "-c", ROOT / "constraints.txt", f"{sdist}[cpu]"],
        check=True,
        capture_output=True,
        env=PURE,
    )
    code = (
        "import importlib.util, numpy as np\n"
        "from trocar.runtime import Session\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "import sys; session = Session.open(sys.argv[1])\n"
        "print(session.run(np.zeros((48, 64, 3), np.uint8)).labels.shape)"
    )
    bundle = tmp_path / "tiny.trocar"
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    try:
        from tiny_bundle import make_tiny_bundle
    finally:
        sys.path.pop(0)
    make_tiny_bundle(bundle, height=24, width=32)
    done = subprocess.run(
        [python, "-c", code, str(bundle)], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(24, 32)"
    missing = subprocess.run(
        [tmp_path / "env" / "bin" / "trocar", "train", "supervised", "--help"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert missing.returncode == 10, missing.stderr
    assert "pip install 'trocar[train]'" in missing.stderr


CMAKE = """#!/bin/sh
# A stand-in: notes how it is called, and installs files and links as CMake does.
echo "$@" >>"$CMAKE_LOG"
[ "$1" = --install ] || exit 0
mkdir -p "$4/lib/cmake/trocar" "$4/include/trocar"
echo library >"$4/lib/libtrocar.so.0"
ln -s libtrocar.so.0 "$4/lib/libtrocar.so"
echo package >"$4/lib/cmake/trocar/trocarConfig.cmake"
"""


def wheel_with(archives: Path, tmp_path: Path, **variables: str) -> tuple[Path | None, str]:
    """The wheel that a build gives where CMake is the stand-in, and what was said."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "cmake").write_text(CMAKE)
    (tools / "cmake").chmod(0o755)
    headers = tmp_path / "headers"
    headers.mkdir(exist_ok=True)
    (headers / "onnxruntime_c_api.h").touch()
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CXX": "sh",
        "CMAKE_LOG": str(tmp_path / "log"),
        "TROCAR_ONNXRUNTIME_INCLUDE": str(headers),
        **variables,
    }
    copy = archives / "copy"
    shutil.rmtree(copy / "build", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(tmp_path / "dist")],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted((tmp_path / "dist").glob("*.whl")) if done.returncode == 0 else []
    return (found[-1] if found else None), done.stderr


@pytest.mark.slow
def test_a_wheel_with_libtrocar_is_for_one_kind_of_machine(archives: Path, tmp_path: Path) -> None:
    wheel, _ = wheel_with(archives, tmp_path)
    assert wheel is not None
    assert "-py3-none-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("trocar/native/lib/libtrocar.so") == b"library\n"
        assert archive.read("trocar/native/lib/libtrocar.so.0") == b"library\n"
        assert "trocar/native/lib/cmake/trocar/trocarConfig.cmake" in archive.namelist()
        assert b"Root-Is-Purelib: false" in archive.read("trocar-0.1.0.dist-info/WHEEL")
    called = (tmp_path / "log").read_text()
    assert "-DTROCAR_WHEEL=ON" in called
    assert "-DTROCAR_TESTS=OFF" in called


@pytest.mark.slow
def test_what_is_missing_is_said_or_refused(archives: Path, tmp_path: Path) -> None:
    missing = {"CXX": "no-such-compiler"}
    wheel, said = wheel_with(archives, tmp_path, **missing)
    assert wheel is not None
    assert wheel.name == "trocar-0.1.0-py3-none-any.whl"
    assert "trocar: a wheel without libtrocar: there is no C++ compiler" in said
    wheel, said = wheel_with(archives, tmp_path, TROCAR_CPP="1", **missing)
    assert wheel is None
    assert "libtrocar cannot be built: there is no C++ compiler" in said
    assert "TROCAR_NO_CPP=1" in said
    assert not (tmp_path / "log").exists()


@pytest.mark.slow
def test_an_editable_install_builds_no_library_unless_asked(archives: Path, tmp_path: Path) -> None:
    code = "import setuptools.build_meta as meta, sys\nmeta.build_editable(sys.argv[1])\n"
    tools = tmp_path / "dist"
    tools.mkdir()
    wheel_with(archives, tmp_path)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'tools'}:{os.environ['PATH']}",
        "CXX": "sh",
        "CMAKE_LOG": str(tmp_path / "editable"),
        "TROCAR_ONNXRUNTIME_INCLUDE": str(tmp_path / "headers"),
    }
    for variables, is_built in (({}, False), ({"TROCAR_CPP": "1"}, True)):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=archives / "copy",
            env=environment | variables,
            check=True,
            capture_output=True,
        )
        assert (tmp_path / "editable").exists() == is_built
        assert (archives / "copy" / "trocar" / "native").is_dir() == is_built
    shutil.rmtree(archives / "copy" / "trocar" / "native")


@pytest.mark.slow
def test_a_wheel_for_arm_is_built_by_cross_compilation(archives: Path, tmp_path: Path) -> None:
    wheel, said = wheel_with(archives, tmp_path, TROCAR_CPP="1", TROCAR_TARGET="aarch64")
    assert wheel is not None, said
    assert wheel.name == "trocar-0.1.0-py3-none-linux_aarch64.whl"
    assert "cmake/aarch64-linux-gnu.cmake" in (tmp_path / "log").read_text()
    wheel.unlink()
    nothing, said = wheel_with(archives, tmp_path, TROCAR_CPP="1", TROCAR_TARGET="sparc")
    assert nothing is None
    assert "TROCAR_TARGET is 'sparc', expected x86_64 or aarch64" in said
    assert "Traceback" not in said
