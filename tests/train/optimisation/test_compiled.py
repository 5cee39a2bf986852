"""`--compile`: methods train as they do without; a missing compiler is an error at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_subjects import Subject
from torch import nn

from trocar.contract.errors import ConfigError
from trocar.contract.text.toml import read_toml
from trocar.train.loop import train
from trocar.train.optimisation import compiled
from trocar.train.optimisation.compiled import compile_network
from trocar.train.state.checkpoint import read_checkpoint
from trocar.train.state.job import Job

CPU = torch.device("cpu")
Make = Callable[..., Subject]

# torch's tracer reads a gradient that is not kept, and silences its own warning only where
# warnings are not errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are traced, and run by torch itself: fast, and equal to the bit."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["supervised", "mean-teacher", "classifier", "few-shot"])
def test_a_method_has_the_same_losses_and_gradients(
    name: str, make_subject: Make, traced: None
) -> None:
    subject = make_subject(name)
    state = copy.deepcopy(subject.network.state_dict())

    def step() -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        subject.network.load_state_dict(state)
        subject.network.zero_grad(set_to_none=True)
        losses = subject.losses()
        torch.stack(list(losses.values())).sum().backward()
        grads = {n: p.grad.clone() for n, p in subject.network.named_parameters()
                 if p.grad is not None}  # fmt: skip
        return {term: float(value.detach()) for term, value in losses.items()}, grads

    plain_losses, plain = step()
    names = list(subject.network.state_dict())
    parts = compile_network(subject.network, CPU)
    assert all(subject.network.get_submodule(p)._compiled_call_impl is not None for p in parts)
    # Checkpoints keep their names, and copies (an average, a teacher) are not compiled.
    assert list(subject.network.state_dict()) == names
    part = copy.deepcopy(subject.network).get_submodule(parts[0])
    assert part._compiled_call_impl is None
    losses, grads = step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert losses == plain_losses
    assert grads.keys() == plain.keys()
    assert all(torch.equal(grads[n], plain[n]) for n in plain)


def test_lists_and_parts_inside_of_parts() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential()
            self.encoder.add_module("decoder", nn.Linear(2, 2))
            self.auxiliary = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    network = nn.ModuleDict({"student": Inner(), "teacher": Inner()})
    assert compile_network(network, CPU) == [
        "student.encoder", "student.auxiliary.0", "student.auxiliary.1",
        "teacher.encoder", "teacher.auxiliary.0", "teacher.auxiliary.1",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"ReLU has none of the parts encoder, aspp"):
        compile_network(nn.ReLU(), CPU)


def test_the_real_compiler_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential()
    network.add_module("encoder", nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    image = torch.rand(2, 3, 8, 8)
    expected = copy.deepcopy(network)(image)
    assert compile_network(network, CPU) == ["encoder"]
    found = network(image)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert network.encoder[0].weight.grad is not None
    # No compiler: said before the first step.
    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", "no such compiler")
    with pytest.raises(ConfigError, match=r"torch.compile does not work here: .*no such compiler"):
        compile_network(network, CPU)


def test_a_run_is_compiled_says_so_and_resumes_without(
    make_method: Callable[..., Any], make_run: Callable[..., Any], open_toy: Callable[..., Any],
    tmp_path: Path, capsys: pytest.CaptureFixture[str], traced: None,
) -> None:  # fmt: skip
    method, run = make_method("supervised"), make_run(steps=2, logger="none", compile=True)
    job = Job(method=method, run=run, data=open_toy(method, run), name="x", out=tmp_path / "run")
    train(job)
    assert "compiled encoder, aspp, decoder" in " ".join(capsys.readouterr().err.split())
    assert read_toml(tmp_path / "run" / "config.toml")["compile"] is True
    method, longer = make_method("supervised"), make_run(steps=4, logger="none")
    train(
        Job(method=method, run=longer, data=open_toy(method, longer), name="x",
            out=tmp_path / "run", resume=True)
    )  # fmt: skip
    assert read_checkpoint(tmp_path / "run" / "last.ckpt").step == 4
