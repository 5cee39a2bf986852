"""Checkpoints and run folders of release 0.1, whose settings had other names."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from trocar.contract.config import fields_of, to_mapping
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.contract.text.toml import read_toml
from trocar.train.loop import train
from trocar.train.methods import find_method
from trocar.train.methods.protocol import ModelSpec
from trocar.train.run import TrainRequest, read_settings, run_method, settings_of_run
from trocar.train.state.checkpoint import (
    Checkpoint,
    load_deployable,
    load_method,
    read_checkpoint,
    save_checkpoint,
)
from trocar.train.state.job import Job
from trocar.train.state.stored_settings import RENAMED, current_settings

# Settings as release 0.1 wrote them, beside those whose names did not change.
OLD: dict[str, dict[str, Any]] = {
    "mean-teacher": {"ema": 0.9, "ramp": 0.3, "passes": 2, "style": "work/transferred"},
    "cross-consistency": {"pretrain": 0.2, "ramp": 0.15},
    "classifier": {"embedding": 16},
    "head-triplet": {"embedding": 16, "steps_in_turn": True},
    "few-shot": {"tau": 4.0, "tau_attention": 5.0, "tau_weight": 6.0},
}
NOW: dict[str, dict[str, Any]] = {
    "mean-teacher": {
        "ema_decay": 0.9, "rampup_fraction": 0.3, "mc_passes": 2, "style": "none",
        "style_folder": Path("work/transferred"),
    },
    "cross-consistency": {"supervised_fraction": 0.2, "rampup_fraction": 0.15},
    "classifier": {"embedding_size": 16},
    "head-triplet": {"embedding_size": 16, "alternate_losses": True},
    "few-shot": {
        "temperature": 4.0, "attention_temperature": 5.0, "weight_temperature": 6.0,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "stated", "name", "did"),
    [
        ("texture-entropy", {}, "w_dice", 0.0),
        ("supervised", {}, "texture_from", 0.0),
        ("cross-consistency", {}, "vat_decoder", "main"),
        ("mean-teacher", {"noise": 0.05}, "teacher_noise", 0.05),
        ("supervised", {"batch_norm": "frozen"}, "decoder_norm", "frozen"),
        ("supervised", {"encoder": "resnet18"}, "batch_norm", "train"),
        ("supervised", {"encoder": "resnet18", "batch_norm": "train"}, "decoder_norm", "batch"),
    ],
)
def test_what_older_runs_did_not_state_is_what_they_did(
    method: str, stated: dict[str, Any], name: str, did: Any
) -> None:
    assert current_settings(method, stated)[name] == did
    other = {**stated, name: "stated"}
    assert current_settings(method, other)[name] == "stated"


@pytest.mark.parametrize("name", OLD)
def test_a_checkpoint_of_0_1_still_loads_for_export(
    name: str,
    tmp_path: Path,
    make_method: Callable[..., Any],
    make_classifier: Callable[..., Any],
    three_classes: Any,
) -> None:
    make = make_classifier if find_method(name).task == "classification" else make_method
    method = make(name, **NOW[name])
    height, width = method.config.size
    spec = ModelSpec(name="n", classes=three_classes, input=InputSpec(height=height, width=width))
    torch.manual_seed(0)
    module = method.build(spec)
    unchanged = {n: v for n, v in to_mapping(method.config).items() if n not in NOW[name]}
    path = tmp_path / "last.ckpt"
    save_checkpoint(
        path,
        Checkpoint(
            method=name,
            config={**unchanged, **OLD[name]},
            run={"steps": 3},
            spec=spec,
            step=3,
            weights=module.state_dict(),
            optimizer={},
            state={"best": None},
            source={},
        ),
    )
    loaded, _ = load_method(path)
    assert loaded.config == method.config
    network, manifest = load_deployable(path)
    assert manifest.method == name
    wanted = method.deployable()[0].state_dict()
    got = network.state_dict()
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[key], value) for key, value in wanted.items())


@pytest.mark.parametrize("name", RENAMED)
def test_the_table_names_settings_that_exist_and_no_others(name: str) -> None:
    fields = {spec.name for spec in fields_of(find_method(name).Config)}
    assert set(RENAMED[name].values()) <= fields
    assert not set(RENAMED[name]) & fields
    today = to_mapping(find_method(name).Config())
    assert current_settings(name, today) == today


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_is_an_error_in_a_recipe(name: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    old = {n: v for n, v in OLD[name].items() if n != "style"}
    recipe.write_text(tomli_w.dumps(old))
    with pytest.raises(ConfigError) as stop:
        read_settings((find_method(name).Config,), recipe=recipe, flags={}, method=name)
    assert all(f"{n!r} is not known" in stop.value.message for n in old)


def test_a_run_folder_of_0_1_resumes(
    toy: Any,
    tmp_path: Path,
    make_method: Callable[..., Any],
    open_toy: Callable[..., Any],
    make_run: Callable[..., Any],
) -> None:
    method = make_method("cross-consistency", supervised_fraction=0.2)
    data = open_toy(method, make_run())
    out = tmp_path / "run"
    train(Job(method=method, run=make_run(steps=2), data=data, name="x", out=out))
    last = read_checkpoint(out / "last.ckpt")
    for name, old in (("supervised_fraction", "pretrain"), ("rampup_fraction", "ramp")):
        config = dict(last.config)
        config[old] = config.pop(name)
        last = dataclasses.replace(last, config=config)
        recipe = read_toml(out / "config.toml")
        recipe[old] = recipe.pop(name)
        (out / "config.toml").write_text(tomli_w.dumps(recipe))
    save_checkpoint(out / "last.ckpt", last)
    (out / "metrics.json").unlink()
    metrics = run_method(
        TrainRequest(
            method="cross-consistency",
            data=toy.data,
            unlabelled=toy.unlabelled,
            out=out,
            resume=True,
            name="x",
        )
    )
    assert metrics["steps"] == 2
    shutil.copy(out / "config.toml", tmp_path / "config.toml")
    with pytest.raises(ConfigError, match="of method cross-consistency, not supervised"):
        settings_of_run(tmp_path / "config.toml", find_method("supervised"))


def test_settings_without_effect_in_a_run_of_0_1_are_passed_over(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        'method = "classifier"\naugmentation = "full"\ncomposite = 0.0\nembedding = 8\n'
    )
    assert settings_of_run(config, find_method("classifier")) == {"embedding_size": 8}


def test_a_run_of_0_1_draws_as_it_did(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('method = "supervised"\nsteps = 7\n')
    stored = settings_of_run(config, find_method("supervised"))
    unstated = {"hide_labels": "by-frame", "texture_from": 0.0}
    assert stored == {"border": 0.0, "empty_frames": "as-drawn", "steps": 7, **unstated}
    config.write_text('method = "supervised"\nborder = 0.4\nempty_frames = "in-every-batch"\n')
    stored = settings_of_run(config, find_method("supervised"))
    assert stored == {"border": 0.4, "empty_frames": "in-every-batch", **unstated}
