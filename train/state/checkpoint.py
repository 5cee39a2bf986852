"""Checkpoints: one safetensors file that holds tensors and JSON, so that reading it runs no code.

    network, manifest = load_deployable("runs/first")     # the best checkpoint of a run

The file's metadata carries one JSON document: schema version, step, method and settings, the model
specification (classes, network size), optimiser settings, scores so far, and a SHA-256 of it all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trocar.contract.bundle import sha256_of, write_atomic
from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    IntegrityError,
    SinkError,
    VersionError,
)
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.text.outside_json import load_json
from trocar.train.methods import find_method
from trocar.train.methods.protocol import Method, ModelSpec
from trocar.train.state.stored_settings import current_settings

SCHEMA = "1.1"
BEST, LAST = "best.ckpt", "last.ckpt"

_KEY = "trocar_checkpoint"
_WEIGHTS, _AVERAGE, _OPTIMIZER = "weights/", "average/", "optimizer/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One checkpoint in memory.

    Attributes:
        method: Command name of the method.
        config: The method's settings, plain values.
        run: The loop's settings, plain values.
        spec: Name, classes and input of the model.
        step: Optimiser steps that were done.
        weights: The module's state dictionary.
        optimizer: The optimiser's state dictionary; empty in the best checkpoint.
        state: Free-form JSON of the loop: scores, best score, gradient scaler.
        source: Free-form JSON about the origin: data, command, versions.
        average: Averaged weights, where the run has them and ``weights`` are the plain ones.
    """

    method: str
    config: Mapping[str, Any]
    run: Mapping[str, Any]
    spec: ModelSpec
    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    source: Mapping[str, Any]
    average: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def deployed(self) -> Mapping[str, Tensor]:
        """The weights that are validated and exported."""
        return self.average or self.weights


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint atomically: completely, or not at all.

    Raises:
        SinkError: The disk is full or not writable; what was at ``path`` is as it was.
    """
    from safetensors.torch import save

    tensors = {_WEIGHTS + name: _plain(value) for name, value in checkpoint.weights.items()}
    tensors |= {_AVERAGE + name: _plain(value) for name, value in checkpoint.average.items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in checkpoint.optimizer.get("state", {}).items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{index}/{name}"] = _plain(value)
            else:
                scalars.setdefault(str(index), {})[name] = value
    spec = checkpoint.spec
    document = {
        "schema": SCHEMA,
        "method": checkpoint.method,
        "config": dict(checkpoint.config),
        "run": dict(checkpoint.run),
        "contract": {
            "name": spec.name,
            "classes": spec.classes.to_dicts(),
            "input": asdict(spec.input),
        },
        "step": checkpoint.step,
        "groups": checkpoint.optimizer.get("param_groups", []),
        "scalars": scalars,
        "state": dict(checkpoint.state),
        "source": dict(checkpoint.source),
    }
    text = json.dumps(document, sort_keys=True)
    data = save(tensors, metadata={_KEY: text, "sha256": _digest(text, tensors)})
    try:
        write_atomic(path, data)
    except OSError as error:
        raise SinkError(
            f"cannot write {path}: {error}",
            remedy="free space or correct the permissions; then --resume",
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks a checkpoint file.

    Raises:
        CheckpointError: It is missing, truncated, or not a checkpoint of Trocar.
        IntegrityError: Its content does not have the SHA-256 that it states.
        VersionError: Its schema is of another major version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"there is no {path}", remedy="name a run folder or a .ckpt file")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is truncated, or is not a checkpoint of Trocar: {error}",
            remedy="copy it again, or use the other checkpoint of the run",
        ) from error
    text = metadata.get(_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} holds tensors but no training state of Trocar",
            remedy="for encoder weights use --encoder-weights; for a run name its .ckpt file",
        )
    try:
        document = load_json(text)
        _check_schema(document.get("schema"), path)
        if metadata.get("sha256") != _digest(text, tensors):
            raise IntegrityError(
                f"{path} does not have the SHA-256 that it states", remedy="copy it again"
            )
        return _from_document(document, tensors)
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise CheckpointError(
            f"{path} is malformed: {type(error).__name__} {error}", remedy="copy it again"
        ) from error


def load_deployable(path: str | Path) -> tuple[nn.Module, Manifest]:
    """Loads the network that leaves training, in evaluation mode on the CPU, and its manifest.

    Args:
        path: A run folder (its best checkpoint, else the last) or a checkpoint file.

    Raises:
        CheckpointError: See `read_checkpoint`; also when the weights do not fit the network.
        IntegrityError: See `read_checkpoint`.
        VersionError: See `read_checkpoint`.
    """
    file = checkpoint_in(Path(path))
    method, checkpoint = load_method(file)
    network, manifest = method.deployable()
    source = {
        **checkpoint.source,
        "checkpoint": file.name,
        "checkpoint_sha256": sha256_of(file),
        "step": checkpoint.step,
        "recipe": {**checkpoint.run, **checkpoint.config},
    }
    return network.eval().cpu().requires_grad_(False), replace(manifest, source=source)


def load_method(file: Path) -> tuple[Method, Checkpoint]:
    """Builds a checkpoint's method and loads its weights.

    Raises:
        CheckpointError: See `read_checkpoint`; also when the weights do not fit the network.
    """
    checkpoint = read_checkpoint(file)
    try:
        kind = find_method(checkpoint.method)
        # The checkpoint has all weights; the file of pretrained ones may be gone by now.
        plain = {n: v for n, v in checkpoint.config.items() if n != "encoder_weights"}
        config: Any = from_mapping(kind.Config, plain, source=str(file))
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error.message}", remedy=error.remedy) from error
    method = kind(config)
    load_weights(method.build(checkpoint.spec), checkpoint.deployed, source=str(file))
    return method, checkpoint


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Loads a state dictionary that must fit exactly.

    Raises:
        CheckpointError: A tensor is missing, left over, or of another shape.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise CheckpointError(
            f"the weights of {source} do not fit the network: {lines[0][:300]}",
            remedy="use the settings that the checkpoint was trained with",
        ) from error


def checkpoint_in(path: Path) -> Path:
    """The checkpoint file that a path means.

    Raises:
        CheckpointError: The folder holds no checkpoint, or there is nothing.
    """
    if not path.is_dir():
        return path
    for name in (BEST, LAST):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(
        f"{path} holds neither {BEST} nor {LAST}",
        remedy="pass a folder that `trocar train … --out` wrote",
    )


def _from_document(document: dict[str, Any], tensors: Mapping[str, Tensor]) -> Checkpoint:
    state: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in document["scalars"].items()
    }
    weights, average = {}, {}
    for name, value in tensors.items():
        if name.startswith(_WEIGHTS):
            weights[name.removeprefix(_WEIGHTS)] = value
        elif name.startswith(_AVERAGE):
            average[name.removeprefix(_AVERAGE)] = value
        else:
            index, key = name.removeprefix(_OPTIMIZER).split("/", 1)
            state.setdefault(int(index), {})[key] = value
    model = document["contract"]
    frame = dict(model["input"])
    for key in ("mean", "std"):
        frame[key] = tuple(frame[key])
    return Checkpoint(
        method=document["method"],
        config=current_settings(document["method"], document["config"]),
        run=document["run"],
        spec=ModelSpec(
            name=model["name"],
            classes=ClassTable.from_dicts(model["classes"]),
            input=InputSpec(**frame),
        ),
        step=int(document["step"]),
        weights=weights,
        optimizer={"state": state, "param_groups": document["groups"]},
        state=document["state"],
        source=document["source"],
        average=average,
    )


def _check_schema(value: object, path: Path) -> None:
    major = str(value).partition(".")[0]
    if major != SCHEMA.partition(".")[0]:
        raise VersionError(
            f"{path} is of checkpoint schema {value!r}; this release reads {SCHEMA[0]}.x",
            remedy="use the release that wrote it",
        )


def _plain(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares memory with nothing."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
