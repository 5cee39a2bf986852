"""``trocar train`` as a user meets it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trocar.commands.compare import overrides
from trocar.commands.train import train
from trocar.contract.config import fields_of
from trocar.contract.errors import ConfigError, DataError, OutputExistsError
from trocar.contract.toml import read_toml
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.open import open_data
from trocar.train.methods import find_method, method_names
from trocar.train.recipes import recipe_names, recipe_path
from trocar.train.run import data_settings, read_settings
from trocar.train.state.settings import RunConfig

TINY = [
    *("--size", "80x64", "--encoder", "tu-lcnet_050", "--decoder-channels", "16"),
    *("--batch-size", "4", "--steps", "2", "--workers", "0", "--device", "cpu"),
]


def invoke(*args: str | Path) -> str:
    return CliRunner().invoke(train, [str(a) for a in args], catch_exceptions=False).output


def test_listing_the_methods_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom trocar.commands.train import train\n"
        "try:\n    train(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'cv2', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for name in method_names():
        assert name in done.stdout


@pytest.mark.parametrize("name", method_names())
def test_every_setting_of_a_method_is_a_flag_with_help(name: str) -> None:
    text = invoke(name, "--help")
    flags = set(re.findall(r"--[a-z][a-z0-9-]*", text))
    method = find_method(name)
    for kind in (method.Config, RunConfig, DataConfig):
        for spec in fields_of(kind):
            assert spec.help, f"{kind.__name__}.{spec.name} has no help text"
            used = kind is not DataConfig or spec.name in data_settings(method)
            assert (spec.flag in flags) == used, spec.flag
            if used and spec.choices:
                assert f"[{'|'.join(spec.choices)}]" in text
    titles = ("Run:", "Method settings:", "Data:", "Training loop:", "Other options:")
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert "[default: 0.001]" in " ".join(text.split())


def test_an_unknown_method_gets_the_nearest_name() -> None:
    assert "did you mean supervised" in invoke("supervised-", "x")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_fits_its_method(name: str) -> None:
    settings = read_toml(recipe_path(name))
    kind = find_method(settings["method"])
    read_settings(
        (kind.Config, DataConfig, RunConfig),
        recipe=recipe_path(name),
        flags={},
        method=settings["method"],
    )


def test_every_method_has_a_recipe() -> None:
    there = {read_toml(recipe_path(name))["method"] for name in recipe_names()}
    assert there >= set(method_names())


def test_all_faults_at_once(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('method = "supervised"\nstep = 5\nw_ce = -1\nlr = "fast"\nval_share = 2.0\n')
    kinds = (find_method("supervised").Config, DataConfig, RunConfig)
    with pytest.raises(ConfigError) as stop:
        read_settings(kinds, recipe=recipe, flags={}, method="supervised")
    for word in ("did you mean steps", "w_ce", "lr", "val_share"):
        assert word in stop.value.message
    with pytest.raises(ConfigError, match="recipe for supervised, not for mean-teacher"):
        read_settings(kinds, recipe=recipe, flags={}, method="mean-teacher")


PHOTOGRAPH_METHODS = [n for n in method_names() if find_method(n).task == "classification"]


@pytest.mark.parametrize("name", PHOTOGRAPH_METHODS)
def test_settings_of_no_effect_are_refused(name: str, tmp_path: Path) -> None:
    for given in (["--composite", "0.5"], ["--augmentation", "none"], ["--task", "parts"]):
        text = invoke(name, tmp_path, "--out", tmp_path / "run", *given)
        assert f"No such option: {given[0]}" in text or f"No such option '{given[0]}'" in text
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'method = "{name}"\ncomposite = 0.5\naugmentation = "light"\nval_share = 0.3\n'
    )
    kinds = (find_method(name).Config, DataConfig, RunConfig)
    with pytest.raises(ConfigError) as stop:
        read_settings(kinds, recipe=recipe, flags={}, method=name)
    for word in ("composite", "augmentation"):
        assert f"{word} has no effect on {name}" in stop.value.message
    assert "val_share" not in stop.value.message
    config = read_settings(kinds, recipe=None, flags={"val_share": "0.3"}, method=name)[1]
    assert config.val_share == 0.3


def test_photographs_are_opened_with_the_settings_that_are_offered(
    toy_folder: Path, make_classifier: Callable[..., Any]
) -> None:
    read: set[str] = set()

    class Recorder:
        def __getattribute__(self, name: str) -> object:
            read.add(name)
            return getattr(DataConfig(), name)

    method = make_classifier("classifier")
    open_data(DatasetPaths(data=toy_folder), Recorder(), RunConfig(), method)  # type: ignore[arg-type]
    # The fold is looked at to be refused.
    assert read - {"fold"} == set(data_settings(type(method)))


def test_a_size_is_width_by_height_on_the_command_line_and_a_list_in_a_recipe(
    toy: DatasetPaths, tmp_path: Path
) -> None:
    kinds = (find_method("supervised").Config,)
    recipe = tmp_path / "r.toml"
    recipe.write_text("size = [64, 80]\n")
    (config,) = read_settings(kinds, recipe=recipe, flags={}, method="supervised")
    assert config.size == (64, 80)
    recipe.write_text('size = "80x64"\n')
    with pytest.raises(ConfigError, match=r"expected a list, \[height, width\]"):
        read_settings(kinds, recipe=recipe, flags={}, method="supervised")
    assert "[default: 320x256]" in " ".join(invoke("supervised", "--help").split())
    refused = invoke("supervised", toy.data, "--out", tmp_path / "run", "--size", "64,80")
    assert "WIDTHxHEIGHT" in refused
    assert overrides(["size=80x64"]) == {"size": [64, 80]}
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        overrides(["size=64,80"])


def test_flags_win_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("steps = 5\nbatch_size = 2\n")
    (run,) = read_settings((RunConfig,), recipe=recipe, flags={"steps": "7"}, method="supervised")
    assert (run.steps, run.batch_size) == (7, 2)


def test_train_and_resume(toy: DatasetPaths, tmp_path: Path) -> None:
    out = tmp_path / "run"
    invoke("supervised", toy.data, "--out", out, *TINY)
    recipe = read_toml(out / "config.toml")
    assert recipe["method"] == "supervised"
    assert recipe["size"] == [64, 80]
    assert "trocar" in (out / "command.txt").read_text()
    with pytest.raises(OutputExistsError):
        invoke("supervised", toy.data, "--out", out, *TINY)
    # The run's own settings are used; they need not be given again.
    invoke("supervised", toy.data, "--out", out, "--resume")
    again = tmp_path / "again"
    invoke("supervised", toy.data, "--out", again, "--recipe", out / "config.toml")
    scores = [json.loads((p / "metrics.json").read_text())["best"] for p in (out, again)]
    assert scores[0] == scores[1]


def test_compositing_on_the_fly_changes_labelled_frames_only(toy: DatasetPaths) -> None:
    method = find_method("cross-consistency")(
        find_method("cross-consistency").Config(size=(64, 80))
    )
    batches = {}
    for chance in (0.0, 1.0):
        data = open_data(
            DatasetPaths(data=toy.data, unlabelled=toy.unlabelled),
            DataConfig(composite=chance),
            RunConfig(batch_size=4),
            method,
        )
        batches[chance] = {name: s.batch(0) for name, s in method.streams(data).items()}
    plain, mixed = batches[0.0], batches[1.0]
    assert (plain["labelled"]["mask"] != mixed["labelled"]["mask"]).any()
    assert (plain["unlabelled"]["image"] == mixed["unlabelled"]["image"]).all()


def opened(paths: DatasetPaths, name: str, **config: object) -> object:
    method = find_method(name)(find_method(name).Config(size=(64, 80)))
    return open_data(paths, DataConfig(**config), RunConfig(batch_size=4), method)  # type: ignore[arg-type]


def test_hidden_labels_serve_as_unlabelled_frames(toy: DatasetPaths) -> None:
    data = opened(DatasetPaths(data=toy.data), "cross-consistency", label_share=0.25)
    assert (len(data.labelled), len(data.unlabelled)) == (2, 6)  # type: ignore[attr-defined]
    names = [{item.name for item in part} for part in (data.labelled, data.unlabelled)]  # type: ignore[attr-defined]
    assert not names[0] & names[1]
    assert len(opened(DatasetPaths(data=toy.data), "supervised", label_share=0.25).labelled) == 2  # type: ignore[attr-defined]


def test_sets_that_spoil_a_run_are_refused(toy: DatasetPaths, tmp_path: Path) -> None:
    labelled = DatasetPaths(data=toy.data)
    with pytest.raises(ConfigError, match="needs frames without labels"):
        opened(labelled, "cross-consistency")
    with pytest.raises(ConfigError, match="needs --target"):
        opened(labelled, "mean-teacher")
    with pytest.raises(ConfigError, match="takes no --target"):
        opened(replace(labelled, target=toy.target), "supervised")
    (tmp_path / "empty" / "images").mkdir(parents=True)
    with pytest.raises(DataError):
        opened(replace(labelled, unlabelled=tmp_path / "empty"), "cross-consistency")
    leak = tmp_path / "leak"
    leak.mkdir()
    shutil.copy(toy.data / "images" / "f11.png", leak / "other_name.png")
    with pytest.raises(DataError, match="also labelled validation frames"):
        opened(replace(labelled, unlabelled=leak), "cross-consistency")
    other = tmp_path / "other"
    shutil.copytree(toy.data, other)
    text = (other / "classes.toml").read_text().replace("grasper", "hook")
    (other / "classes.toml").write_text(text)
    for given in ({"target": other}, {"target": toy.target, "validation": other}):
        with pytest.raises(DataError, match="class tables differ"):
            opened(replace(labelled, **given), "mean-teacher")
