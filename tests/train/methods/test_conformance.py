"""What every training method must do, segmentation and classification alike.

A new file in ``train/methods`` is found here; it needs one entry in ``method_cases.py``. A method
of a plug-in is found where it states a case, see docs/plug-ins.md.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import CASES, OWN_CASES, Term
from method_subjects import (
    Subject,
    force,
    make_independent,
    method_of,
    parameters_of,
    run_config,
)
from places import ROOT
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError, InterruptedByUserError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.text.toml import read_toml
from trocar.export.cpu_session import infer_on_cpu
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.instances.from_torch import (
    instance_reference,
    onnx_from_instance_network,
)
from trocar.export.reference import torch_reference
from trocar.train.data.config import DataConfig
from trocar.train.loop import train
from trocar.train.methods import find_method, own_methods
from trocar.train.methods.protocol import ModelSpec, Progress
from trocar.train.run import read_settings
from trocar.train.state.checkpoint import load_deployable, read_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

Make = Callable[..., Subject]

WEIGHED = [(name, term) for name, case in CASES.items() for term in case.terms if term.weight]

every_method = pytest.mark.parametrize("name", sorted(CASES))
every_weight = pytest.mark.parametrize(
    ("name", "term"), WEIGHED, ids=[f"{name}-{term.name}" for name, term in WEIGHED]
)


def test_every_method_has_a_case() -> None:
    assert sorted(OWN_CASES) == own_methods()


@every_method
def test_the_losses_are_those_of_the_case(name: str, make_subject: Make) -> None:
    subject = make_subject(name)
    losses = subject.losses()
    assert sorted(losses) == sorted(term.name for term in subject.case.terms)
    for value in losses.values():
        assert value.shape == ()
        assert float(value.detach()) > 0
    assert all(np.isfinite(float(value)) for value in subject.method.logged.values())


@every_method
def test_each_loss_alone_trains_what_it_must_and_nothing_else(
    name: str, make_subject: Make
) -> None:
    subject = make_subject(name)
    network = subject.network
    for path in subject.case.frozen:
        assert not any(p.requires_grad for p in parameters_of(network, path))
    subject.train(2)
    # Not required, a gradient would be absent whether it is stopped or not.
    network.requires_grad_(True)
    for term in subject.case.terms:
        network.zero_grad(set_to_none=True)
        subject.losses()[term.name].backward()
        for path in term.trains:
            grads = [p.grad for p in parameters_of(network, path) if p.grad is not None]
            assert all(torch.isfinite(grad).all() for grad in grads), (term.name, path)
            assert sum(float(grad.abs().sum()) for grad in grads) > 0, (term.name, path)
        for path in term.spares:
            grads = [p.grad for p in parameters_of(network, path) if p.grad is not None]
            assert not any(grad.any() for grad in grads), (term.name, path)


@every_weight
def test_a_loss_is_proportional_to_its_weight(name: str, term: Term, make_subject: Make) -> None:
    subject = make_subject(name)
    subject.train(1)
    weight = getattr(subject.method.config, term.weight)
    state = copy.deepcopy(subject.network.state_dict())
    values = {}
    for factor in (1, 0, 2):
        force(subject.method, **{term.weight: factor * weight})
        # A pass changes BatchNorm's running statistics, which some perturbations read.
        subject.network.load_state_dict(state)
        with torch.no_grad():
            values[factor] = {key: float(value) for key, value in subject.losses().items()}
    assert values[1][term.name] > 0
    assert values[0].get(term.name, 0.0) == 0
    assert values[2][term.name] == pytest.approx(2 * values[1][term.name], rel=1e-4)
    for other in values[1].keys() - {term.name}:
        assert values[2][other] == pytest.approx(values[1][other], rel=1e-4)


def changed_at(batch: dict[str, Any], stream: str, index: int, key: str, classes: int) -> Any:
    """The same batch with one image, or one image's labels, of one stream changed."""
    values = batch[stream][key].clone()
    if key == "image":
        values[index] = 255 - values[index].flip(-1)
    else:
        # Every other row of a map: a texture does not know which class is which.
        part = values[index, ::2] if values.ndim > 1 else values[index]
        # By one class and by two in turn, so that pixels of every instance leave it.
        step = 1 + torch.arange(len(part)).reshape(-1, 1) % 2 if part.ndim else 1
        part.copy_(torch.where(part == IGNORE_INDEX, part, (part + step) % classes))
    return {**batch, stream: {**batch[stream], key: values}}


def changes(subject: Subject, key: str) -> Iterator[tuple[str, int, set[str]]]:
    """Stream, index, and the losses that a change of that image or label changes."""
    classes = len(subject.data.labelled.table)
    with torch.no_grad():
        before = subject.losses()
        for stream, batch in subject.batch.items():
            for index in range(len(batch["image"]) if key in batch else 0):
                batch_then = changed_at(subject.batch, stream, index, key, classes)
                after = subject.losses(batch_then)
                moved = {n for n in before if abs(float(after[n] - before[n])) > 1e-7}
                yield stream, index, moved


@every_method
def test_every_image_and_every_label_is_counted(name: str, make_subject: Make) -> None:
    subject = make_subject(name, **CASES[name].independent)
    make_independent(subject)
    for stream, index, moved in changes(subject, "image"):
        for term in subject.case.terms:
            counted = stream in term.images and (not term.first or index < term.first)
            assert (term.name in moved) == counted, (term.name, stream, index)
    for key in ("mask", "label"):
        for stream, index, moved in changes(subject, key):
            expected = {term.name for term in subject.case.terms if stream in term.labels}
            assert moved == expected, (stream, index)


@every_method
def test_losses_are_float32_and_finite_under_autocast(name: str, make_subject: Make) -> None:
    subject = make_subject(name)
    with torch.autocast("cpu", torch.bfloat16):
        losses = subject.losses()
    for key, value in losses.items():
        assert value.dtype == torch.float32, key
        assert torch.isfinite(value), key


@every_method
def test_the_loss_falls_on_one_batch(name: str, make_subject: Make) -> None:
    history = make_subject(name).train(25)
    assert np.mean(history[-3:]) < 0.75 * np.mean(history[:3])


@every_method
def test_only_the_deployed_network_is_scored_and_drawn(
    name: str, make_subject: Make, tmp_path: Path
) -> None:
    subject = make_subject(name)
    subject.network.eval()
    deployed = subject.network.get_submodule(subject.case.deployed)
    ran: set[torch.nn.Module] = set()
    for module in subject.network.modules():
        module.register_forward_pre_hook(lambda module, _: ran.add(module))
    with torch.no_grad():
        scores = subject.method.evaluate(subject.data)
        assert subject.method.monitor in scores
        assert ran
        assert ran <= set(deployed.modules())
        ran.clear()
        subject.method.save_predictions(subject.data, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
    assert ran
    assert ran <= set(deployed.modules())
    network, manifest = subject.method.deployable()
    assert network is deployed
    assert (manifest.method, manifest.task) == (name, subject.method.task)


def exporters(manifest: Manifest) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How a network of that task is exported, and its reference."""
    if manifest.task == "instances":
        return onnx_from_instance_network, instance_reference
    return onnx_from_network, torch_reference


@every_method
def test_the_deployable_network_exports_and_matches(name: str, make_subject: Make) -> None:
    # Half as many nodes as the encoder of the other tests, and exported in half the time.
    small = {"encoder": "tu-test_resnet"} if "encoder" in CASES[name].config else {}
    subject = make_subject(name, **small)
    subject.train(subject.case.exported_after)
    with torch.no_grad():
        subject.method.evaluate(subject.data)
    network, manifest = subject.method.deployable()
    to_onnx, reference = exporters(manifest)
    content, complete = to_onnx(network.eval(), manifest)
    image = next(iter(subject.batch.values()))["image"][:2]
    frames = image.round().permute(0, 2, 3, 1).to(torch.uint8).numpy()
    expected = reference(network, complete)(frames)
    result = infer_on_cpu(content)(frames)
    if manifest.task == "segmentation":
        assert result["labels"].shape == (2, *image.shape[2:])
        assert (result["labels"] == expected["labels"]).mean() > 0.999
        assert expected["logits"].shape[1] == len(manifest.classes)
    elif manifest.task == "instances":
        assert result["instances"].any()
        assert (result["instances"] == expected["instances"]).mean() > 0.999
        np.testing.assert_array_equal(result["classes"], expected["classes"])
        np.testing.assert_allclose(result["scores"], expected["scores"], atol=2e-3)
    else:
        assert result["scores"].shape == (2, len(manifest.classes))
        for key, value in result.items():
            np.testing.assert_allclose(value, expected[key], atol=2e-3)


@every_method
def test_a_run_that_was_stopped_resumes_exactly(
    name: str, tmp_path: Path, open_sets: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_config()

    def job(out: Path, *, resume: bool = False) -> Job:
        method = method_of(name)
        data = open_sets(method, run)
        return Job(method=method, run=run, data=data, name="x", out=out, resume=resume)

    train(job(tmp_path / "full"))
    kind = find_method(name)
    plain = kind.after_step

    def stopping(self: Any, progress: Progress) -> None:
        plain(self, progress)
        if progress.step == 3:
            # What Ctrl-C calls; test_loop.py sends a real one to a process of its own.
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, None)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "after_step", stopping)
        with pytest.raises(InterruptedByUserError):
            train(job(tmp_path / "cut"))
    assert read_checkpoint(tmp_path / "cut" / "last.ckpt").step == 4
    train(job(tmp_path / "cut", resume=True))
    full = read_checkpoint(tmp_path / "full" / "last.ckpt")
    cut = read_checkpoint(tmp_path / "cut" / "last.ckpt")
    assert cut.step == full.step == 6
    assert cut.weights.keys() == full.weights.keys()
    for key, value in full.weights.items():
        assert torch.equal(value, cut.weights[key]), key
    assert cut.state["best"] == full.state["best"]
    network, manifest = load_deployable(tmp_path / "cut")
    assert not network.training
    assert manifest.source["step"] == cut.state["best"]["step"]
    if manifest.task == "classification":
        threshold = manifest.extra["classification"]["threshold"]
        assert threshold == pytest.approx(float(network.threshold), abs=1e-6)
    assert (tmp_path / "cut" / "predictions.png").is_file()


@every_method
def test_processes_share_the_batch_of_one(name: str, open_sets: Callable[..., Any]) -> None:
    world = CASES[name].world
    method = method_of(name, **CASES[name].shared)
    data = open_sets(method, run_config())

    def batches(rank: int, count: int) -> dict[str, Any]:
        streams = copy.copy(method).streams(replace(data, rank=rank, world=count))
        return {key: stream.batch(5) for key, stream in streams.items()}

    full, shares = batches(0, 1), [batches(rank, world) for rank in range(world)]
    for stream, batch in full.items():
        joined: Tensor = torch.cat([share[stream]["image"] for share in shares])
        assert torch.equal(joined, batch["image"])


@pytest.mark.parametrize("name", sorted(OWN_CASES))
def test_recipes_are_read(name: str) -> None:
    files = sorted((ROOT / "train" / "recipes").glob(f"{name.replace('-', '_')}*.toml"))
    assert files
    kind = find_method(name)
    for file in files:
        settings = read_settings(
            (kind.Config, DataConfig, RunConfig), recipe=file, flags={}, method=name
        )
        assert isinstance(settings[0], kind.Config)
        assert read_toml(file)["method"] == name


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("classifier", {"backbone": "resnet81"}, "did you mean"),
        ("head-triplet", {"p": 1, "k": 1}, "needs a negative.*needs a positive"),
        ("head-triplet", {"w_triplet": 0}, "both losses"),
        ("few-shot", {"ways": 1, "held_out": 1.5}, "ways.*held_out"),
    ],
)
def test_wrong_settings_are_said_at_once(name: str, wrong: dict[str, Any], words: str) -> None:
    kind = find_method(name)
    table = ClassTable.from_names(["a", "b"])
    spec = ModelSpec(name="t", classes=table, input=InputSpec(height=224, width=224))

    def make() -> None:
        kind(from_mapping(kind.Config, wrong, source="test")).build(spec)

    with pytest.raises(ConfigError, match=words):
        make()
