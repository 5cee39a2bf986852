"""``trocar compare`` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from trocar.commands._config_options import arguments_of
from trocar.commands.compare import compare, overrides, train_arguments
from trocar.commands.train import train
from trocar.contract.errors import ConfigError
from trocar.train.compare import Comparison, read_entries
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.methods import find_method
from trocar.train.recipes import recipe_names
from trocar.train.run import read_settings
from trocar.train.state.settings import RunConfig


@pytest.mark.parametrize("name", recipe_names())
def test_settings_survive_the_way_over_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = read_entries([name], {"channels_last": True, "standardise": False})
    settings = dict(entry.settings)
    if find_method(entry.method).task == "segmentation":
        del settings["standardise"]
    seen = []
    monkeypatch.setattr("trocar.commands.train.run_method", seen.append)
    request = replace(Comparison(data=tmp_path, out=tmp_path).request(entry, 2), settings=settings)
    arguments = train_arguments(request)
    assert arguments == [*arguments[:5], *arguments_of(settings)]
    CliRunner().invoke(train, arguments[1:], catch_exceptions=False)
    kinds = (find_method(entry.method).Config, DataConfig, RunConfig)
    direct, parsed = (
        read_settings(kinds, recipe=None, flags=given, method=entry.method)
        for given in (settings, seen[0].settings)
    )
    assert direct == parsed
    assert (seen[0].method, seen[0].out) == (entry.method, request.out)


def test_comparing_runs_each_recipe_once_and_prints_the_table(
    toy: DatasetPaths, tmp_path: Path
) -> None:
    shared = 'steps = 2\nbatch_size = 4\nsize = [64, 80]\nencoder = "tu-lcnet_050"\n'
    for name, method in (("plain", "supervised"), ("texture", "texture-entropy")):
        (tmp_path / f"{name}.toml").write_text(f'method = "{method}"\n{shared}')
    args = [tmp_path / "plain.toml", tmp_path / "texture.toml", "--data", toy.data]
    args += ["--out", tmp_path / "out", "--seeds", "2", "--metric", "iou_background"]
    args += [
        x for pair in ("workers=0", "device=cpu", "decoder_channels=16") for x in ("--set", pair)
    ]
    texts = []
    for _ in range(2):
        done = CliRunner().invoke(compare, [str(a) for a in args], catch_exceptions=False)
        texts.append(done.stdout[done.stdout.index("| recipe") :])
        stamps = [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").rglob("last.ckpt"))]
        assert len(stamps) == 4
    assert texts[0] == texts[1]
    assert "| texture |" in texts[0]
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["name"] for row in rows] == ["plain", "texture"]
    assert all(len(set(row["scores"])) == 2 for row in rows)
    assert (tmp_path / "out" / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_comparisons_that_are_not_fair_are_refused(tmp_path: Path) -> None:
    for name, steps in (("a", 5), ("b", 6)):
        (tmp_path / f"{name}.toml").write_text(f'method = "supervised"\nsteps = {steps}\n')
    paths = [tmp_path / "a.toml", tmp_path / "b.toml"]
    with pytest.raises(ConfigError, match="steps differs between the recipes: 5, 6"):
        read_entries(paths, {})
    assert len(read_entries(paths, {"steps": 9})) == 2
    with pytest.raises(ConfigError, match="same file name"):
        read_entries([paths[0], paths[0]], {})
    with pytest.raises(ConfigError, match="has no value"):
        overrides(["steps"])
    with pytest.raises(ConfigError, match="did you mean supervised"):
        read_entries(["supervise"], {})
