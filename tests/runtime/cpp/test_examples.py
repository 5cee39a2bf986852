"""The examples run and say what Python says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from places import ROOT

from trocar.runtime.session import Session


def run(*command: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def said(tiny_bundle: Path, tiny: ModuleType) -> list[str]:
    """What Python finds, as the C example prints it."""
    with Session.open(tiny_bundle, threads=1) as session:
        found = session.run(tiny.tiny_frame(120, 160)).instruments
    return [
        f"{one.class_name} {one.score:.3f} box "
        + " ".join(f"{v:.1f}" for v in one.box)
        + "".join(f" tip {x:.1f} {y:.1f}" for x, y in one.tips)
        for one in found
    ]


def test_c(
    build: Path, tiny_bundle: Path, tiny: ModuleType, environment: dict[str, str],
    tmp_path: Path, said: list[str],
) -> None:  # fmt: skip
    image = tmp_path / "frame.ppm"
    image.write_bytes(b"P6 160 120 255\n" + tiny.tiny_frame(120, 160).tobytes())
    done = run(build / "examples" / "one_image", tiny_bundle, image, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == said
    assert len(said) == 2


def test_c_says_what_is_wrong(build: Path, environment: dict[str, str], tmp_path: Path) -> None:
    image = tmp_path / "frame.ppm"
    image.write_bytes(b"P6 1 1 255\n123")
    done = run(build / "examples" / "one_image", tmp_path, image, environment=environment)
    assert done.returncode == 4
    assert "BundleError" in done.stderr
    assert "->" in done.stderr


def test_callback(build: Path, tiny_bundle: Path, environment: dict[str, str]) -> None:
    done = run(build / "examples" / "callback", tiny_bundle, 40, environment=environment)
    assert done.returncode == 0, done.stderr
    counts = re.fullmatch(
        r"(\d+) frames shown, (\d+) dropped, (\d+) instruments, at most ([\d.]+) ms old\n",
        done.stdout,
    )
    assert counts is not None, done.stdout
    assert float(counts[4]) > 0
    assert int(counts[1]) + int(counts[2]) == 40
    assert int(counts[3]) >= int(counts[1]) > 0


def test_camera(
    build: Path, tiny_bundle: Path, tiny: ModuleType, environment: dict[str, str], tmp_path: Path
) -> None:
    camera = build / "examples" / "camera"
    if not camera.is_file() or shutil.which("xvfb-run") is None:
        pytest.skip("no OpenCV for C++ or no xvfb here: the camera example is not run")
    video = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    assert writer.isOpened()
    for i in range(5):
        writer.write(cv2.cvtColor(tiny.tiny_frame(240, 320, shift=3 * i), cv2.COLOR_RGB2BGR))
    writer.release()
    done = run("xvfb-run", "-a", camera, tiny_bundle, video, environment=environment)
    assert done.returncode == 0, done.stderr
    counts = re.search(r"(\d+) frames shown, (\d+) instruments\n", done.stdout)
    assert counts is not None, done.stdout
    assert (int(counts[1]), int(counts[2])) == (5, 10)


def test_ctypes(
    cpp: ModuleType, library: str, tiny_bundle: Path, tiny: ModuleType,
    environment: dict[str, str], tmp_path: Path, said: list[str],
) -> None:  # fmt: skip
    np.save(tmp_path / "frame.npy", tiny.tiny_frame(120, 160))
    done = run(
        sys.executable, cpp.__file__, library, tiny_bundle, tmp_path / "frame.npy",
        environment=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(said)


def _fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _code_blocks(text: str) -> list[str]:
    """Doxygen's ``@code`` blocks without the leading asterisks."""
    blocks = re.findall(r"@code\n(.*?)\* @endcode", text, re.DOTALL)
    return [re.sub(r"^ \* ?", "", block, flags=re.MULTILINE) for block in blocks]


def _compile(source: str, suffix: str, folder: Path, build: Path) -> None:
    file = folder / f"snippet{suffix}"
    file.write_text(source)
    compiler = ["gcc", "-std=c11"] if suffix == ".c" else ["g++", "-std=c++17"]
    done = subprocess.run(
        [*compiler, "-fsyntax-only", "-Wall", "-Werror", "-Wno-unused",
         f"-I{build.parent / 'include'}", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, source + done.stderr


def test_the_snippets_of_the_documentation_compile(build: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    c_snippets, cpp_snippets = _fences(text, "c"), _fences(text, "cpp")
    assert c_snippets
    assert cpp_snippets
    for snippet in c_snippets:
        source = f"#include <stdio.h>\n#include <trocar/live.h>\nvoid f(void) {{\n{snippet}}}\n"
        _compile(source, ".c", tmp_path, build)
    for snippet in cpp_snippets:
        source = (
            "#include <cstdio>\n#include <trocar/live.hpp>\n"
            f"void f(const std::uint8_t *rgb, int width, int height) {{\n{snippet}}}\n"
        )
        _compile(source, ".cpp", tmp_path, build)


def test_the_examples_in_the_headers_compile(build: Path, tmp_path: Path) -> None:
    include = build.parent / "include" / "trocar"
    (program,) = _code_blocks((include / "trocar.h").read_text(encoding="utf-8"))
    _compile(program, ".c", tmp_path, build)
    (snippet,) = _code_blocks((include / "trocar.hpp").read_text(encoding="utf-8"))
    _compile(
        "#include <trocar/trocar.hpp>\nvoid draw(std::string_view name, const double *box);\n"
        f"void f(const std::uint8_t *rgb, int width, int height) {{\n{snippet}}}\n",
        ".cpp",
        tmp_path,
        build,
    )
    (program,) = _code_blocks((include / "live.h").read_text(encoding="utf-8"))
    _compile(program, ".c", tmp_path, build)
    (snippet,) = _code_blocks((include / "live.hpp").read_text(encoding="utf-8"))
    _compile(
        "#include <trocar/live.hpp>\n"
        "void draw(trocar::View<trocar_instrument> instruments, double age_ms);\n"
        f"void f(const trocar::Session &session, const std::uint8_t *rgb) {{\n{snippet}}}\n",
        ".cpp",
        tmp_path,
        build,
    )


def test_a_host_s_own_library_is_left_alone(
    library: str, tiny_bundle: Path, onnxruntime_library: str, build: Path, tmp_path: Path
) -> None:
    """A host that shows another OrtGetApiBase to every library still gets the right one here."""
    host = tmp_path / "host.c"
    host.write_text(
        "#include <dlfcn.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <trocar/trocar.h>\n"
        'const void *OrtGetApiBase(void) { puts("the host\'s own was taken"); abort(); }\n'
        "int main(int n, char **a) {\n"
        "  trocar_error error = {.size = sizeof error};\n"
        "  trocar_options options = {.size = sizeof options};\n"
        "  options.library = a[2];\n"
        "  trocar_session *session = NULL;\n"
        "  int code = trocar_session_open(a[1], &options, &session, &error);\n"
        '  printf("%s", error.message); trocar_session_close(session); return code + n - 3;\n}\n'
    )
    include = Path(library).parents[1] / "include"
    program = tmp_path / "host"
    subprocess.run(
        ["gcc", "-rdynamic", f"-I{include}", str(host), "-o", str(program), library,
         f"-Wl,-rpath,{build}", "-ldl"],
        check=True,
    )  # fmt: skip
    done = run(program, tiny_bundle, onnxruntime_library, environment={})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", ["ros2/trocar_node.cpp", "holoscan/instrument_op.cpp"])
def test_examples_for_other_frameworks_fit_the_library(source: str) -> None:
    """Against declarations from the documentation: neither framework is in Debian or on PyPI."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    cpp, headers = ROOT / "runtime" / "cpp", ROOT / "tests" / "support" / "pipeline_headers"
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(
        [*command, "-isystem", headers, f"-I{cpp / 'include'}", cpp / "examples" / source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
