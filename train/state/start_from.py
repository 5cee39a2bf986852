"""Starting weights from another run: its trained network, with the classes that both know.

    start = read_start(Path("runs/first"))
    report = start_network(network, classes, start)      # "classes grasper, hook kept; clip new"

The rows of the last layer belong to classes; they are matched by class name, and classes that the
other run does not know keep their random start. All other tensors must fit, so that a wrong encoder
is an error and not a network that silently begins at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trocar.contract.bundle import sha256_of
from trocar.contract.classes import ClassTable
from trocar.contract.errors import CheckpointError, TrocarError
from trocar.contract.integrity.guard import exported_text
from trocar.contract.manifest import Manifest
from trocar.contract.text.licences import LICENCES, licences_of
from trocar.train.networks.segmentation import NetworkConfig
from trocar.train.state.checkpoint import checkpoint_in, load_method

_SETTINGS_OF_SHAPE = (
    "architecture",
    "encoder",
    "decoder_channels",
    "decoder_norm",
    "pooling_branch",
    "backbone",
    "embedding_size",
    "standardise",
    "channels",
    "regions",
    "size",
)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A trained network to start from.

    Attributes:
        file: The checkpoint.
        network: The network that the run would deploy.
        classes: Its class table.
        config: The settings of its method.
        origin: What is kept of it in checkpoints and bundles: file, SHA-256, method, step,
            and the record of its frames.
        trained_on: Record of the frames that it has learned from, see `trocar.train.data.leakage`.
    """

    file: Path
    network: nn.Module
    classes: ClassTable
    config: Mapping[str, Any]
    origin: Mapping[str, Any]
    trained_on: str


def read_start(path: Path) -> Start:
    """Reads the network of a run folder (its best checkpoint, else the last) or a checkpoint.

    Raises:
        CheckpointError: It is an exported bundle, or see
            `trocar.train.state.checkpoint.read_checkpoint`.
        IntegrityError: The checkpoint's content was changed.
        VersionError: Its schema is of another major version.
    """
    if path.suffix == ".onnx" or (path / "model.onnx").is_file():
        raise CheckpointError(
            f"{path} is an exported model: its graph has batch normalisation merged into other "
            f"layers, so that it cannot be trained any further{_exported_from(path)}",
            remedy="name the run folder or the .ckpt file that it was exported from; `trocar "
            "inspect` shows its SHA-256, to be compared with `sha256sum best.ckpt`",
        )
    file = checkpoint_in(path)
    method, checkpoint = load_method(file)
    network, _ = method.deployable()
    return Start(
        file=file,
        network=network,
        classes=checkpoint.spec.classes,
        config=checkpoint.config,
        origin={
            "checkpoint": str(file),
            "checkpoint_sha256": sha256_of(file),
            "method": checkpoint.method,
            "step": checkpoint.step,
            "trained_on": checkpoint.source.get("trained_on", ""),
            LICENCES: licences_of(checkpoint.source),
        },
        trained_on=str(checkpoint.source.get("trained_on", "")),
    )


def normalisation_of(settings: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Normalisation of the run to start from, for a new run that does not state its own.

    Which layers a decoder has depends on it, so that the default could not take the weights.

    Args:
        settings: Of the run to start from.
        kind: The dataclass of the new run's settings.
    """
    if not issubclass(kind, NetworkConfig):
        return {}
    names = ("batch_norm", "decoder_norm", "pooling_branch")
    return {name: settings[name] for name in names if "encoder" in settings and name in settings}


def _exported_from(path: Path) -> str:
    """Words on the checkpoint that a bundle or an ONNX file names; empty where it names none."""
    model = path / "model.onnx" if path.is_dir() else path
    try:
        source = Manifest.from_json(exported_text(model.read_bytes()) or "").source
    except (OSError, TrocarError):
        return ""
    digest = source.get("checkpoint_sha256")
    if not digest:
        return ""
    return (
        f"; it was exported from a file {source.get('checkpoint', '')} of step "
        f"{source.get('step', '?')} with the SHA-256 {digest}"
    )


def start_network(built: nn.Module, classes: ClassTable, start: Start) -> str:
    """Copies the weights into every network of the same kind inside a module.

    A mean teacher has two: student and teacher start equal.

    Args:
        built: What the method built.
        classes: The classes of the new run.
        start: What to start from.

    Returns:
        Which classes were kept, which are new and which were dropped, for people.

    Raises:
        CheckpointError: There is no such network inside, or its tensors do not fit; the settings
            that differ are named.
    """
    kind = type(start.network)
    networks = [module for module in built.modules() if type(module) is kind]
    if not networks:
        raise CheckpointError(
            f"{start.file} is of method {start.origin['method']} and has another kind of network, "
            "which the new run does not contain",
            remedy="start from a run of the same task, with the same --architecture",
        )
    for network in networks:
        _copy(network, classes, start)
    kept = [name for name in classes.names if name in start.classes.names]
    new = [name for name in classes.names if name not in start.classes.names]
    dropped = [name for name in start.classes.names if name not in classes.names]
    words = [
        f"{what} {', '.join(names)}"
        for what, names in (("kept", kept), ("new", new), ("dropped", dropped))
        if names
    ]
    return f"starts from {start.file}; classes: " + "; ".join(words)


@torch.no_grad()
def _copy(network: nn.Module, classes: ClassTable, start: Start) -> None:
    rows: Sequence[str] = getattr(network, "class_rows", ())
    derived: Sequence[str] = getattr(network, "derived_tensors", ())
    theirs = start.network.state_dict()
    ours = {name: value for name, value in network.state_dict().items() if name not in derived}
    faults = [
        name
        for name, value in ours.items()
        if name not in theirs or not _fits(value, theirs[name], is_rows=name in rows)
    ]
    if faults:
        raise _unfit(network, start, faults, total=len(ours))
    before = {name: index for index, name in enumerate(start.classes.names)}
    for name, value in ours.items():
        if name not in rows:
            value.copy_(theirs[name])
            continue
        for index, class_name in enumerate(classes.names):
            if class_name in before:
                value[index] = theirs[name][before[class_name]]


def _fits(ours: Tensor, theirs: Tensor, *, is_rows: bool) -> bool:
    return ours.shape[1:] == theirs.shape[1:] if is_rows else ours.shape == theirs.shape


def _unfit(network: nn.Module, start: Start, faults: list[str], *, total: int) -> CheckpointError:
    config = getattr(network, "config", None)
    differing = [
        f"{name} was {_text(start.config[name])}, is {_text(getattr(config, name))}"
        for name in _SETTINGS_OF_SHAPE
        if name in start.config
        and hasattr(config, name)
        and _text(getattr(config, name)) != _text(start.config[name])
    ]
    reason = "; ".join(differing) or f"the first is {faults[0]}"
    return CheckpointError(
        f"{start.file} does not fit the new network: {len(faults)} of {total} tensors are missing "
        f"or of another shape ({reason})",
        remedy="pass the settings of that run, which its config.toml lists",
    )


def _text(value: object) -> str:
    return str(list(value)) if isinstance(value, list | tuple) else str(value)
