"""The bill of materials of a release: complete, consistent, and of the standard's form."""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from places import ROOT

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sbom", ROOT / "scripts" / "make_sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_lists_what_is_required_with_its_extras(sbom: ModuleType) -> None:
    plain, more = (sbom.bill_of_materials(extras, now=NOW) for extras in ((), ("export",)))
    names = {c["name"] for c in plain["components"]}
    assert {"numpy", "click", "rich", "markdown-it-py"} <= names  # rich requires the last
    assert not {"torch", "onnx"} & names
    assert {"torch", "onnx"} <= {c["name"] for c in more["components"]}
    assert plain["serialNumber"] != more["serialNumber"]
    assert plain == sbom.bill_of_materials((), now=NOW)
    numpy = next(c for c in plain["components"] if c["name"] == "numpy")
    assert numpy["version"] == metadata.version("numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{metadata.version('numpy')}"
    assert numpy["licenses"]
    known = {c["bom-ref"] for c in [plain["metadata"]["component"], *plain["components"]]}
    assert len(known) == len(plain["components"]) + 1
    assert {d["ref"] for d in plain["dependencies"]} == known
    assert all(set(d["dependsOn"]) <= known for d in plain["dependencies"])


def test_it_follows_the_schema(sbom: ModuleType) -> None:
    pytest.importorskip("cyclonedx", reason="pip install 'cyclonedx-python-lib[json-validation]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = json.dumps(sbom.bill_of_materials(("export", "train"), now=NOW))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None


def test_the_file_states_the_epoch_or_nothing_is_written(
    sbom: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    assert sbom.main([str(tmp_path / "a" / "sbom.json")]) == 0
    document = json.loads((tmp_path / "a" / "sbom.json").read_text())
    assert document["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"
    assert sbom.main(["--extra", "nothing", str(tmp_path / "b.json")]) == 1
    assert "Trocar has no extra nothing; it has " in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
