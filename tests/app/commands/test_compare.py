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
from trocar.train.compare import Comparison, Row, read_entries, table
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.methods import find_method
from trocar.train.recipes import recipe_names
from trocar.train.run import read_settings
from trocar.train.state.settings import RunConfig


@pytest.mark.parametrize("name", recipe_names())
def test_settings_survive_the_way_over_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = read_entries([name], {})
    photographs = find_method(plain.method).task == "classification"
    given = {"channels_last": True, **({"standardise": False} if photographs else {})}
    (entry,) = read_entries([name], given)
    settings = dict(entry.settings)
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
    with pytest.raises(ConfigError, match=r"differ in steps \(a 5, b 6\)") as stop:
        read_entries(paths, {})
    assert "--set steps=VALUE" in stop.value.remedy
    assert len(read_entries(paths, {"steps": 9})) == 2
    assert len(read_entries(paths, {}, allowed=["steps"])) == 2
    with pytest.raises(ConfigError, match=r"allow-different: setting .*did you mean steps"):
        read_entries(paths, {}, allowed=["stepz"])
    with pytest.raises(ConfigError, match="same file name"):
        read_entries([paths[0], paths[0]], {})
    with pytest.raises(ConfigError, match="has no value"):
        overrides(["steps"])
    with pytest.raises(ConfigError, match="did you mean supervised"):
        read_entries(["supervise"], {})


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("w_dice", (0.0, 1.0)),
        ("lr", (0.001, 0.002)),
        ("decoder_channels", (16, 32)),
        ("encoder_weights", ("none", "a.pth")),
        ("augmentation", ("light", "full")),
        ("composite", (0.0, 0.5)),
        ("w_texture", (0.0, 0.1)),
    ],
)
def test_each_shared_setting_must_be_equal_unless_it_is_allowed(
    setting: str, values: tuple[object, ...], tmp_path: Path
) -> None:
    paths = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for path, value in zip(paths, values, strict=True):
        text = f"{value!r}".replace("'", '"')
        path.write_text(f'method = "supervised"\n{setting} = {text}\n')
    with pytest.raises(ConfigError, match=setting):
        read_entries(paths, {})
    assert len(read_entries(paths, {}, allowed=[setting.replace("_", "-")])) == 2


def test_a_stated_normalisation_does_not_follow_the_weights(tmp_path: Path) -> None:
    paths = [tmp_path / "a.toml", tmp_path / "b.toml"]
    paths[0].write_text('method = "supervised"\nencoder_weights = "a.pth"\n')
    paths[1].write_text('method = "supervised"\ndecoder_norm = "batch"\n')
    with pytest.raises(ConfigError, match=r"differ in decoder_norm \(a group, b batch\)"):
        read_entries(paths, {}, allowed=["encoder_weights"])


def test_terms_of_other_methods_and_other_names_of_one_weight(tmp_path: Path) -> None:
    texts = {
        "plain": 'method = "supervised"\nw_ce = 1.0\n',
        "other": 'method = "texture-entropy"\nw_label = 1.0\nw_texture = 0.3\nepochs = 3\n',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    paths = [tmp_path / f"{name}.toml" for name in texts]
    with pytest.raises(ConfigError, match=r"steps .*other 3 epochs"):
        read_entries(paths, {})
    assert len(read_entries(paths, {"steps": 5})) == 2
    (tmp_path / "other.toml").write_text('method = "texture-entropy"\nw_label = 2.0\n')
    with pytest.raises(ConfigError, match=r"w_ce \(plain 1.0, other 2.0\)"):
        read_entries(paths, {})


def test_the_recipes_of_the_documentation_can_be_compared() -> None:
    """Those of docs/training.md, and each segmentation recipe with `supervised`."""
    given = {"label_share": 0.1, "composite": 0.5, "steps": 2000}
    for name in ("cross_consistency", "mean_teacher", "texture_entropy"):
        assert len(read_entries(["supervised", name], given)) == 2
    assert len(read_entries(["classifier", "head_triplet"], {})) == 2


def test_the_table_says_better_only_where_the_interval_excludes_0() -> None:
    rows = [
        Row(name="a", scores=(0.50, 0.52, 0.51), seconds=(1.0, 1.0, 1.0)),
        Row(name="b", scores=(0.55, 0.58, 0.56), seconds=(2.0, 2.0, 2.0)),
        Row(name="c", scores=(0.60, 0.48, 0.53), seconds=(1.0, 1.0, 1.0)),
        Row(name="d", scores=(0.40, 0.43, 0.42), seconds=(1.0, 1.0, 1.0)),
    ]
    lines = table(rows, metric="iou").splitlines()
    # By hand: differences 0.05, 0.06, 0.05 have the mean 0.0533 and deviation 0.00577; times
    # t(0.975, 2) = 4.3027 over the root of 3.
    assert "| +0.053 (+0.039 to +0.068) | better | 2.00 x |" in lines[3]
    assert "| not decided |" in lines[4]
    assert "| worse |" in lines[5]
    alone = table(
        [Row(name=n, scores=(s,), seconds=(1.0,)) for n, s in (("a", 0.1), ("b", 0.9))], metric="x"
    )
    assert "| +0.800 | not decided |" in alone
