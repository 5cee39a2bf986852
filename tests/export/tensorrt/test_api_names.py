"""Every TensorRT name that the code uses is in the interfaces of 10.0, 10.16, 11.1 and RTX 1.7.

The lists in ``tensorrt_names/`` were taken from the public Python bindings of those versions.
"""

from __future__ import annotations

import ast
import json
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
