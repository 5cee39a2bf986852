"""Layers inside of ``runtime/``: no package imports one of a higher layer."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from places import ROOT

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"locate", "frames", "devices", "clocks", "draw", "in_use", "instances"}),
    frozenset({"backends", "device_memory", "sources"}),
    frozenset({"temporal", "sinks", "enrolment", "golden", "inference", "native"}),
    frozenset({"opening", "nv12_form", "session", "telemetry"}),
    frozenset({"pipeline", "privacy", "benchmark"}),
    frozenset({"live", "archive"}),
)
"""Folders and modules of ``runtime/``, from the lowest layer to the highest."""

LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def runtime_texts() -> dict[str, str]:
    """Sources by path inside of ``runtime/``, without its public names and ``cpp``."""
    root = ROOT / "runtime"
    files = (path.relative_to(root) for path in root.rglob("*.py"))
    return {
        str(path): (root / path).read_text(encoding="utf-8")
        for path in files
        if path.parts[0] not in ("cpp", "__init__.py")
    }


def imports_of(text: str) -> set[str]:
    """Folders and modules of ``runtime/`` that a source imports anywhere, in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from trocar.runtime import session` names the module in the list.
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    parts = (name.split(".") for name in names)
    return {part[2] for part in parts if part[:2] == ["trocar", "runtime"] and len(part) > 2}


def arrows_up(texts: Mapping[str, str]) -> list[str]:
    """Imports of a higher layer."""
    found = []
    for path, text in texts.items():
        own = Path(path).parts[0].removesuffix(".py")
        for other in imports_of(text):
            if LAYER_OF[other] > LAYER_OF[own]:
                found.append(f"{path} imports {other}")
    return sorted(found)


def test_every_part_of_the_runtime_has_a_layer() -> None:
    parts = {Path(path).parts[0].removesuffix(".py") for path in runtime_texts()}
    assert parts == set(LAYER_OF)


def test_no_part_of_the_runtime_imports_a_higher_layer() -> None:
    texts = runtime_texts()
    # The reader sees imports at all: the topmost layer uses every one below.
    assert {LAYER_OF[name] for name in imports_of(texts["live/stream.py"])} >= {0, 1, 2, 3, 4}
    assert arrows_up(texts) == []


def test_a_planted_arrow_is_seen() -> None:
    planted = {
        "sources/open.py": "def f():\n    from trocar.runtime.live.stream import LiveStream\n",
        "session.py": "from trocar.runtime import benchmark\n",
        "live/run.py": "import trocar.runtime.session\n",
        "telemetry/trace.py": "from trocar.runtime.sinks.files import check_free\n",
    }
    assert arrows_up(planted) == ["session.py imports benchmark", "sources/open.py imports live"]
