"""A training method prepared for a test: its network, one batch of each stream, and its data.

subject = make_subject("mean-teacher", w_dice=0.5); subject.losses()
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from method_cases import CASES, LATE, Case
from torch import Tensor, nn

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.manifest import InputSpec
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.open import open_data
from trocar.train.methods import find_method
from trocar.train.methods.protocol import ModelSpec, Progress, TrainData, accepted_data
from trocar.train.state.settings import RunConfig

SEED = 5
TABLE = ClassTable.from_names(["background", "a", "b"])
SPEC = ModelSpec(name="m", classes=TABLE, input=InputSpec(height=64, width=80))
RUN = {
    "steps": 6, "batch_size": 4, "warmup": 1, "workers": 0, "device": "cpu", "lr": 3e-3,
    "evaluate_every": 3, "log_every": 1,
}  # fmt: skip


@dataclass
class Subject:
    """A method that has been built.

    Attributes:
        case: What it declares.
        method: The method.
        network: What its `build` made, in training mode.
        batch: Batch 0 of each stream.
        data: Its data sets.
    """

    case: Case
    method: Any
    network: nn.Module
    batch: dict[str, Any]
    data: TrainData

    def losses(
        self, batch: Mapping[str, Any] | None = None, progress: Progress = LATE
    ) -> dict[str, Tensor]:
        """Losses of a batch, with the same random draws at every call."""
        torch.manual_seed(SEED)
        terms: dict[str, Tensor] = self.method.losses(
            self.batch if batch is None else batch, progress
        )
        return terms

    def train(self, steps: int) -> list[float]:
        """Trains on the one batch at one progress; returns the losses."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=3e-3)
        history = []
        for step in range(steps):
            total = torch.stack(list(self.losses().values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            # A teacher follows from the first step on, as it would in a run.
            self.method.after_step(Progress(step, 100))
            history.append(float(total.detach()))
        return history


def method_of(name: str, **given: Any) -> Any:
    """A method with the settings of its case and given ones."""
    kind = find_method(name)
    return kind(from_mapping(kind.Config, {**CASES[name].config, **given}, source="test"))


def config_of(name: str, **values: Any) -> Any:
    """A method's configuration with its defaults and given values."""
    return from_mapping(find_method(name).Config, values, source="test")


def labelled_images(seed: int = 4) -> dict[str, Tensor]:
    """Two random images; the label maps differ in texture and in how much of them is ignored."""
    torch.manual_seed(seed)
    mask = torch.randint(0, 3, (2, 64, 80))
    mask[0, :50] = 1
    mask[0, :, :30] = 255
    mask[1, 60:] = 255
    return {"image": torch.rand(2, 3, 64, 80) * 255, "mask": mask}


def run_config(**given: Any) -> RunConfig:
    """Tiny settings of the loop and given ones."""
    config: RunConfig = from_mapping(RunConfig, {**RUN, **given}, source="test")
    return config


def spec_of(method: Any, classes: Any) -> ModelSpec:
    """Outside of a model of that method's size."""
    height, width = method.config.size
    return ModelSpec(name="test", classes=classes, input=InputSpec(height=height, width=width))


def force(method: Any, **values: Any) -> None:
    """Changes settings of a method that is built, past the checks of their ranges."""
    config = copy.copy(method.config)
    known = {entry.name for entry in fields(config)}
    for name, value in values.items():
        assert name in known
        object.__setattr__(config, name, value)
    method.config = config


def parameters_of(network: nn.Module, path: str) -> list[nn.Parameter]:
    """Parameters of a module, or the one parameter of that path."""
    named = dict(network.named_parameters())
    return [named[path]] if path in named else list(network.get_submodule(path).parameters())


def make_independent(subject: Subject) -> None:
    """Gives every BatchNorm the statistics of the batch, and holds them and dropout still.

    After it no image changes what a network makes of another, if the case's ``independent``
    settings were given.
    """
    layers = [
        m for m in subject.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum, layer.training = None, True
    with torch.no_grad():
        subject.losses()
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum
    # A teacher takes over all of the student.
    subject.method.after_step(Progress(0, 100))
    subject.network.eval()


@pytest.fixture(scope="session")
def open_sets(toy: DatasetPaths, toy_folder: Any) -> Callable[..., TrainData]:
    """Opens the toy sets of a method's task that the method takes."""

    def opened(method: Any, run: RunConfig) -> TrainData:
        if method.task == "classification":
            return open_data(DatasetPaths(data=toy_folder), DataConfig(), run, method)
        accepted = accepted_data(method)
        paths = replace(
            toy,
            unlabelled=toy.unlabelled if "unlabelled" in accepted else None,
            target=toy.target if "target" in accepted else None,
        )
        return open_data(paths, DataConfig(), run, method)

    return opened


@pytest.fixture(scope="session")
def make_subject(open_sets: Callable[..., TrainData]) -> Callable[..., Subject]:
    """Builds a method by name with the settings of its case and given ones."""

    def make(name: str, **given: Any) -> Subject:
        method = method_of(name, **given)
        data = open_sets(method, run_config())
        batch = {key: stream.batch(0) for key, stream in method.streams(data).items()}
        torch.manual_seed(0)
        network = method.build(spec_of(method, data.labelled.table)).train()
        return Subject(CASES[name], method, network, batch, data)

    return make
