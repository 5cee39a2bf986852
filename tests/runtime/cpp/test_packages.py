"""What the build installs: the layout that `trocar config` names, and Debian packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from places import ROOT

from trocar.native_library import find_native

EXAMPLE = ROOT / "runtime" / "cpp" / "examples" / "one_image.c"


def run(*words: object, **variables: str) -> str:
    done = subprocess.run(
        list(map(str, words)),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "f.ppm").write_bytes(b"P6 40 32 255\n" + bytes(range(256)) * 15)
    return tmp_path / "f.ppm"


def test_the_layout_is_the_one_that_the_command_names(
    build: Path, tiny_bundle: Path, onnxruntime_library: str, picture: Path, tmp_path: Path
) -> None:
    run("cmake", "--install", build, "--prefix", tmp_path / "native")
    native = find_native(tmp_path / "native")
    assert (native.cmake_dir / "trocarConfig.cmake").is_file()
    assert (native.pkg_config / "trocar.pc").is_file()
    assert str(ROOT) not in (native.pkg_config / "trocar.pc").read_text()
    program = tmp_path / "program"
    run("gcc", "-o", program, EXAMPLE, f"-I{native.include}", native.library)
    run(
        *(program, tiny_bundle, picture),
        LD_LIBRARY_PATH=str(native.library.parent),
        TROCAR_ONNXRUNTIME=onnxruntime_library,
    )


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb here")
def test_debian_packages_hold_a_library_and_what_programs_are_built_with(
    build: Path, tiny_bundle: Path, onnxruntime_library: str, picture: Path, tmp_path: Path
) -> None:
    run("cpack", "--config", build / "CPackConfig.cmake", "-B", tmp_path / "out")
    library, dev = sorted((tmp_path / "out").glob("*.deb"), key=lambda path: "dev" in path.name)
    about = run("dpkg-deb", "-f", library)
    assert "Package: libtrocar0" in about
    assert "libc6" in run("dpkg-deb", "-f", library, "Depends")
    assert run("dpkg-deb", "-f", dev, "Depends").strip() == "libtrocar0 (= 0.1.0)"
    for package in (library, dev):
        run("dpkg-deb", "-x", package, tmp_path / "root")
    lib = tmp_path / "root" / "usr" / "lib"
    program = tmp_path / "program"
    include = tmp_path / "root" / "usr" / "include"
    run("gcc", "-o", program, EXAMPLE, f"-I{include}", f"-L{lib}", "-ltrocar")
    run(
        *(program, tiny_bundle, picture),
        LD_LIBRARY_PATH=str(lib),
        TROCAR_ONNXRUNTIME=onnxruntime_library,
    )
