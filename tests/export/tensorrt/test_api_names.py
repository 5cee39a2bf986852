"""Every TensorRT name that the code uses is in the interfaces of 10.0, 10.16, 11.1 and RTX 1.7.

The lists in ``tensorrt_names/`` were taken from the public Python bindings of those versions.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

LISTS = sorted((Path(__file__).parent / "api_names").glob("*.json"))
FILES = ("export/tensorrt/build.py", "export/tensorrt/progress.py", "export/tensorrt/inspector.py")

# Which class of the library a variable of this name is, in the files above.
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "parser": "OnnxParser",
    "error": "ParserError",
    "layer": "ILayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "kinds": "LayerType",
}
# Names that are no method of the library although the variable is called alike.
OURS = {
    ("profile", "minimum"),
    ("profile", "optimum"),
    ("profile", "maximum"),
    ("layer", "get"),
    ("tensor", "get"),
    ("tensor", "data_type"),
}
# Asked for with getattr and refused in words where they are missing.
OPTIONAL = {("HardwareCompatibilityLevel", "SAME_COMPUTE_CAPABILITY")}


def uses(path: Path) -> set[tuple[str, str]]:
    """``(class or "module", name)`` of every use of the library in a file."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        inner = node.value
        if isinstance(inner, ast.Name) and inner.id == "trt":
            if not node.attr.startswith("__"):
                found.add(("module", node.attr))
        elif isinstance(inner, ast.Attribute) and _is(inner.value, "trt"):
            found.add((inner.attr, node.attr))
        elif isinstance(inner, ast.Attribute) and inner.attr == "Severity":
            found.add(("Severity", node.attr))
        elif (
            isinstance(inner, ast.Name)
            and inner.id in CLASSES
            and (inner.id, node.attr) not in OURS
        ):
            found.add((CLASSES[inner.id], node.attr))
    return found


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


ALL = set().union(*(uses(ROOT / name) for name in FILES))


# The real Python bindings are wheels of 1 MB that are in no extra, e.g.
# `pip download --no-deps tensorrt_cu13_bindings==10.16.1.11`. The variable names the folders that
# they were unpacked in, with colons between.
FOLDERS = [Path(f) for f in os.environ.get("TROCAR_TENSORRT_BINDINGS", "").split(":") if f]
RUNTIME = ("runtime/backends/tensorrt.py", "runtime/backends/engine_lanes.py")
LOOK = """
import json, sys
from tensorrt_bindings import tensorrt as trt
classes = [getattr(trt, name) for name in dir(trt)]
known = {name for each in classes if isinstance(each, type) for name in dir(each)}
wanted, of_runtime = json.load(sys.stdin)
def owner_of(name):
    return {"module": trt, "Severity": trt.ILogger.Severity}.get(name) or getattr(trt, name)
missing = [pair for pair in wanted if not hasattr(owner_of(pair[0]), pair[1])]
print(json.dumps(missing + [name for name in of_runtime if name not in known]))
"""
LIBRARY_NAMES = {
    "create_execution_context",
    "deserialize_cuda_engine",
    "engine_host_code_allowed",
    "execute_async_v3",
    "get_tensor_dtype",
    "get_tensor_mode",
    "get_tensor_name",
    "get_tensor_profile_shape",
    "get_tensor_shape",
    "num_io_tensors",
    "refit_cuda_engine",
    "refit_from_file",
    "set_input_shape",
    "set_tensor_address",
}
"""What the runtime asks of the library; ``is_stream_capturable`` is asked for where it is there."""


def test_the_reading_finds_what_is_known_to_be_there() -> None:
    for use in (
        ("module", "Builder"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("BuilderFlag", "STRIP_PLAN"),
        ("Builder", "build_serialized_network"),
        ("IBuilderConfig", "progress_monitor"),
        ("INetworkDefinition", "get_layer"),
        ("OnnxParser", "parse"),
        ("ParserError", "node_operator"),
        ("Severity", "ERROR"),
        ("ILayer", "get_output"),
        ("ICudaEngine", "create_engine_inspector"),
    ):
        assert use in ALL
    assert len(ALL) > 45


@pytest.mark.parametrize("path", LISTS, ids=lambda p: p.stem)
def test_every_name_exists(path: Path) -> None:
    names = json.loads(path.read_text(encoding="utf-8"))["names"]
    missing = sorted(
        f"{owner}.{name}" for owner, name in ALL - OPTIONAL if name not in names.get(owner, [])
    )
    assert missing == []


def test_versions_ten_and_eleven_are_both_recorded() -> None:
    versions = [json.loads(p.read_text(encoding="utf-8"))["version"] for p in LISTS]
    assert {v.split(".")[0] for v in versions} == {"1", "10", "11"}
    # What 11 took away is known to the lists, so using it would be seen.
    eleven = next(p for p in LISTS if p.stem == "tensorrt-11.1")
    names = json.loads(eleven.read_text(encoding="utf-8"))["names"]
    assert "FP16" not in names["BuilderFlag"]
    assert "int8_calibrator" not in names["IBuilderConfig"]


def test_the_installed_library_has_what_its_list_says() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    for owner, name in sorted(ALL):
        if owner in ("module", "Severity"):
            continue
        assert hasattr(getattr(trt, owner), name), f"{owner}.{name}"


@pytest.mark.skipif(not FOLDERS, reason="TROCAR_TENSORRT_BINDINGS names no unpacked wheel")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_name_is_in_the_real_bindings(folder: Path, tmp_path: Path) -> None:
    (library,) = folder.glob("*_bindings/tensorrt.so")
    stubs(library, tmp_path)
    code = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in RUNTIME)
    owners = r"\b(?:context|engine|runtime|refitter|parser)\.([a-z]\w+)\b"
    # `notes` and the like are of this project's own classes.
    used = set(re.findall(owners, code)) & LIBRARY_NAMES
    assert {"execute_async_v3", "set_input_shape", "deserialize_cuda_engine"} <= used
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        input=json.dumps([sorted(ALL - OPTIONAL), sorted(used)]),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def stubs(library: Path, folder: Path) -> None:
    """Libraries with the entry points that the bindings want; each returns 0."""
    listed = run("nm", "-D", "--undefined-only", str(library))
    names = sorted(set(re.findall(r" U (\w+)\n", listed)))
    source = folder / "stub.c"
    source.write_text("".join(f"long {name}() {{ return 0; }}\n" for name in names))
    for name in re.findall(r"NEEDED.*\[(libnv\w+\.so\.\d+)\]", run("readelf", "-d", str(library))):
        run("gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", str(folder / name),
            str(source))  # fmt: skip


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
