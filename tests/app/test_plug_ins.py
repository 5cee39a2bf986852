"""The package of docs/plug-ins.md adds one part of each kind; a broken one disturbs nobody."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from method_cases import plug_in_cases
from places import ROOT
from plug_in_packages import installed
from tiny_bundle import make_tiny_bundle
from train_fixtures import TINY, TINY_RUN, paint

from trocar.commands.run import run
from trocar.commands.train import train
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.plug_ins import KINDS
from trocar.doctor.plug_ins import check_plug_ins
from trocar.runtime.session import Session
from trocar.runtime.sources.open import open_source
from trocar.train.data.readers import open_frames
from trocar.train.methods import find_method
from trocar.train.networks.architectures import architecture_names
from trocar.train.run import TrainRequest, run_method
from trocar.train.state.checkpoint import load_deployable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (ROOT / "docs" / "plug-ins.md").read_text(encoding="utf-8")
PYTHON, CASE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(PROJECT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
BROKEN = "raise RuntimeError('the licence of our parts ran out')\n"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[None]:
    """The package of the page; its method has the page's case for the conformance suite."""
    project = tomllib.loads(PROJECT)["project"]
    code = PYTHON.replace(
        '    name = "twice-dice"\n', '    name = "twice-dice"\n' + textwrap.indent(CASE, "    ")
    )
    files = {"theatre_parts.py": code}
    with installed(tmp_path / "site", project["name"], files, project["entry-points"]):
        yield


@pytest.fixture
def theatre(tmp_path: Path) -> Path:
    """Twelve labelled frames in the layout of image and mask folders."""
    paint(tmp_path / "toy", count=12, seed=1, tissue=(60, 50, 150), labels=True)
    return tmp_path / "toy"


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[None]:
    """A package whose parts of every kind cannot be imported."""
    kinds = KINDS
    groups = {f"trocar.{kind}": {"broken": "broken_parts:part"} for kind in kinds}
    with installed(tmp_path / "site", "broken-parts", {"broken_parts.py": BROKEN}, groups):
        yield


def invoke(command: object, *arguments: object) -> str:
    done = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    return done.output


def test_the_package_of_the_page_adds_one_of_each(
    parts: None, theatre: Path, tmp_path: Path
) -> None:
    assert [(f.check, f.state) for f in check_plug_ins()] == [
        (f"plug-in, {kind}", "ok") for kind in KINDS
    ]
    listed = " ".join(invoke(train, "--help").split())
    assert "twice-dice Parts of our theatre (plug-in of theatre-parts)" in listed
    assert "tensorrt-rtx|again]" in invoke(run, "--help")
    assert "colours" in architecture_names()
    # Reader, method and architecture.
    shutil.copytree(theatre, tmp_path / "theatre" / "export")
    assert len(open_frames(tmp_path / "theatre")) == 12
    assert len(open_frames(tmp_path / "theatre", layout="theatre-export")) == 12
    settings = {**TINY, **TINY_RUN, "size": [64, 80], "steps": 1, "architecture": "colours"}
    out = tmp_path / "run"
    request = TrainRequest(
        method="twice-dice", data=tmp_path / "theatre", out=out, settings=settings
    )
    run_method(request)
    network, manifest = load_deployable(out)
    assert type(network).__name__ == "Colours"
    assert manifest.method == "twice-dice"
    # Loss and logger.
    added = {"loss": ["ce", "area=0.5"], "logger": ["lines"]}
    out = tmp_path / "added"
    request = TrainRequest(
        method="supervised", data=tmp_path / "theatre", out=out, settings={**settings, **added}
    )
    run_method(request)
    losses = json.loads((out / "history.jsonl").read_text().splitlines()[0])["losses"]
    assert set(losses) == {"ce", "area"}
    assert (out / "lines.txt").read_text().startswith("1 ")
    # Source, sink and backend.
    bundle = make_tiny_bundle(tmp_path / "tiny.trocar")
    target = tmp_path / "frames.txt"
    invoke(
        *(run, bundle, "noise://6", "--no-reconnect", "--backend", "again"),
        *("--sink", f"count:{target}"),
    )
    assert int(target.read_text()) > 0


def test_the_conformance_suite_finds_its_method(parts: None) -> None:
    case = plug_in_cases()["twice-dice"]
    assert [term.name for term in case.terms] == ["ce", "dice"]
    assert case.terms[0].trains == ("encoder", "aspp", "decoder")


def test_a_broken_package_is_named_where_it_is_used_and_nowhere_else(
    broken: None, theatre: Path, tmp_path: Path
) -> None:
    assert {f.state for f in check_plug_ins()} == {"fail"}
    # Nothing that does not use it is disturbed.
    assert len(open_frames(theatre)) == 12
    assert "supervised" in invoke(train, "--help")
    assert find_method("supervised").name == "supervised"
    bundle = make_tiny_bundle(tmp_path / "tiny.trocar")
    Session.open(bundle).close()
    # What uses it names the package.
    settings = {**TINY, **TINY_RUN, "size": [64, 80]}
    where = {"data": theatre, "out": tmp_path / "run"}
    requests = (
        TrainRequest(method="broken", settings=settings, **where),
        TrainRequest(method="supervised", settings={**settings, "architecture": "broken"}, **where),
        TrainRequest(method="supervised", settings={**settings, "loss": ["broken"]}, **where),
    )
    uses = [
        *(lambda request=request: run_method(request) for request in requests),
        lambda: open_frames(theatre, layout="broken"),
        lambda: open_source("broken://1"),
        lambda: Session.open(bundle, backend="broken"),
        lambda: invoke(run, bundle, tmp_path, "--sink", "broken:x"),
    ]
    for use in uses:
        with pytest.raises(ConfigError, match="the licence of our parts ran out") as caught:
            use()
        assert "package broken-parts 1.0" in caught.value.message
    # A folder without a layout says that one reader could not be asked.
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="plug-in broken of package broken-parts"):
        open_frames(tmp_path / "nothing")


def test_an_unknown_sink_is_an_error(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.trocar")
    with pytest.raises(ConfigError, match="the sink 'pacs' is not known"):
        invoke(run, bundle, tmp_path, "--sink", "pacs:x")
