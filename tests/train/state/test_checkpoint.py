"""Checkpoints: exact, checked, and never a way to run code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trocar.contract.errors import CheckpointError, IntegrityError, SinkError, VersionError
from trocar.contract.manifest import InputSpec
from trocar.train.methods.protocol import ModelSpec
from trocar.train.state import checkpoint as module
from trocar.train.state.checkpoint import (
    Checkpoint,
    checkpoint_in,
    load_deployable,
    read_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def saved(
    tmp_path: Path, make_method: Callable[..., Any], three_classes: Any
) -> tuple[Path, Checkpoint]:
    method = make_method("supervised")
    spec = ModelSpec(name="n", classes=three_classes, input=InputSpec(height=64, width=80))
    network = method.build(spec)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    from trocar.contract.config import to_mapping

    made = Checkpoint(
        method="supervised",
        config=to_mapping(method.config),
        run={"steps": 3},
        spec=spec,
        step=3,
        weights=network.state_dict(),
        optimizer=optimizer.state_dict(),
        state={"best": None},
        source={"data": "d"},
    )
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, made)
    return path, made


def test_everything_comes_back(saved: tuple[Path, Checkpoint]) -> None:
    path, made = saved
    got = read_checkpoint(path)
    assert (got.step, got.method, got.spec) == (3, "supervised", made.spec)
    assert got.weights.keys() == made.weights.keys()
    assert all(torch.equal(got.weights[k], v) for k, v in made.weights.items())
    for index, state in made.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(got.optimizer["state"][index][name], value)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(v.clone()) for v in _trained(made)])
    optimizer.load_state_dict(dict(got.optimizer))


def _trained(made: Checkpoint) -> list[torch.Tensor]:
    return [s["exp_avg"] for _, s in sorted(made.optimizer["state"].items())]


def test_the_deployable_network_is_what_was_trained(saved: tuple[Path, Checkpoint]) -> None:
    path, made = saved
    network, manifest = load_deployable(path)
    assert manifest.method == "supervised"
    assert manifest.classes == made.spec.classes
    assert manifest.source["checkpoint"] == "last.ckpt"
    assert len(manifest.source["checkpoint_sha256"]) == 64
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert network(torch.rand(1, 3, 64, 80) * 255).shape == (1, 3, 64, 80)
    json.loads(manifest.to_json())


def test_weights_are_not_fetched_again(saved: tuple[Path, Checkpoint], tmp_path: Path) -> None:
    path, made = saved
    moved = replace(made, config={**made.config, "encoder_weights": str(tmp_path / "gone.pth")})
    save_checkpoint(path, moved)
    load_deployable(path)


def test_a_folder_means_its_best(saved: tuple[Path, Checkpoint]) -> None:
    path, made = saved
    assert checkpoint_in(path.parent) == path
    save_checkpoint(path.with_name("best.ckpt"), made)
    assert checkpoint_in(path.parent).name == "best.ckpt"
    with pytest.raises(CheckpointError, match=r"neither best\.ckpt nor last\.ckpt"):
        checkpoint_in(path.parents[1])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(saved: tuple[Path, Checkpoint], share: float) -> None:
    path, _ = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="truncated"):
        read_checkpoint(path)


@pytest.mark.parametrize("place", [-1, -100_000])
def test_a_changed_byte_is_noticed(saved: tuple[Path, Checkpoint], place: int) -> None:
    path, _ = saved
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="SHA-256"):
        read_checkpoint(path)


def test_a_changed_setting_is_noticed(saved: tuple[Path, Checkpoint]) -> None:
    path, _ = saved
    data = path.read_bytes()
    assert data.count(rb"\"step\": 3") == 1
    path.write_bytes(data.replace(rb"\"step\": 3", rb"\"step\": 4"))
    with pytest.raises(IntegrityError):
        read_checkpoint(path)


def test_an_unknown_major_version_is_refused(
    saved: tuple[Path, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = saved
    with monkeypatch.context() as patch:
        patch.setattr(module, "SCHEMA", "2.0")
        save_checkpoint(path, made)
    with pytest.raises(VersionError, match=r"2\.0"):
        read_checkpoint(path)


def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    witness = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (witness,))

    for name, write in (
        ("raw.ckpt", lambda p: p.write_bytes(pickle.dumps(Evil()))),
        ("torch.ckpt", lambda p: torch.save({"weights": Evil()}, p)),
    ):
        write(tmp_path / name)
        with pytest.raises(CheckpointError):
            load_deployable(tmp_path / name)
        assert not witness.exists()


def test_foreign_tensors_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no training state"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_weights_that_do_not_fit_are_refused(saved: tuple[Path, Checkpoint]) -> None:
    path, made = saved
    save_checkpoint(path, replace(made, config={**made.config, "decoder_channels": 24}))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_deployable(path)
    save_checkpoint(path, replace(made, method="supervisd"))
    with pytest.raises(CheckpointError, match="did you mean supervised"):
        load_deployable(path)


def test_a_failed_write_leaves_the_old_file(
    saved: tuple[Path, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = saved
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SinkError, match="No space left"):
        save_checkpoint(path, replace(made, step=9))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
