"""The exam of every segmentation method; a new file in ``methods/`` is found and examined."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from trocar.contract.errors import InterruptedByUserError
from trocar.contract.manifest import InputSpec
from trocar.train.loop import train
from trocar.train.methods import find_method, method_names
from trocar.train.methods.protocol import ModelSpec, Progress
from trocar.train.state.checkpoint import load_deployable, read_checkpoint
from trocar.train.state.job import Job

NAMES = [n for n in method_names() if find_method(n).task == "segmentation"]
# Late enough for ramps to be up and for an uncertain teacher to be heard.
LATE = Progress(90, 100, 9, 10)

Examinee = tuple[Any, torch.nn.Module, dict[str, Any]]


@pytest.fixture(params=NAMES)
def examinee(
    request: pytest.FixtureRequest,
    make_method: Callable[..., Any],
    open_toy: Callable[..., Any],
    make_run: Callable[..., Any],
) -> Examinee:
    """A method, its module and one batch of four images of each stream."""
    method = make_method(request.param, **EXTRA.get(request.param, {}))
    data = open_toy(method, make_run())
    batch = {name: stream.batch(0) for name, stream in method.streams(data).items()}
    torch.manual_seed(0)
    spec = ModelSpec(name="exam", classes=data.labelled.table, input=InputSpec(height=64, width=80))
    return method, method.build(spec), batch


# Terms that are off by default are examined too.
EXTRA: dict[str, dict[str, Any]] = {
    "supervised": {"w_texture": 0.1},
    "mean-teacher": {"w_texture": 0.1},
    "cross-consistency": {"w_texture": 0.1, "w_dice": 0.5},
}


def practise(examinee: Examinee, *, steps: int) -> list[float]:
    """Trains on the same batch at the same progress, with the same draws at every step."""
    method, module, batch = examinee
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    module.train()
    history = []
    for step in range(steps):
        torch.manual_seed(5)
        total = sum(method.losses(batch, LATE).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        # The teacher follows from the first step on, as it would in a run.
        method.after_step(Progress(step, 100))
        history.append(float(total.detach()))
    return history


def test_each_term_alone_trains_the_student_and_never_the_teacher(examinee: Examinee) -> None:
    method, module, batch = examinee
    practise(examinee, steps=25)
    names = list(method.losses(batch, LATE))
    assert names
    for name in names:
        module.zero_grad(set_to_none=True)
        torch.manual_seed(5)
        method.losses(batch, LATE)[name].backward()
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        assert grads, name
        assert all(torch.isfinite(g).all() for g in grads), name
        assert sum(float(g.abs().sum()) for g in grads) > 0, name
        for parameter in module.parameters():
            assert parameter.requires_grad or parameter.grad is None


def test_the_loss_falls_on_four_images(examinee: Examinee) -> None:
    history = practise(examinee, steps=30)
    assert np.mean(history[-3:]) < 0.75 * np.mean(history[:3])


def test_what_is_logged_is_numbers(examinee: Examinee) -> None:
    method, module, batch = examinee
    module.train()
    method.losses(batch, LATE)
    assert all(np.isfinite(float(value)) for value in method.logged.values())


def test_the_deployable_network_exports_and_matches(examinee: Examinee) -> None:
    method, _, batch = examinee
    practise(examinee, steps=12)
    network, manifest = method.deployable()
    network.eval()
    assert manifest.method == method.name
    image = next(iter(batch.values()))["image"][:2]
    with torch.no_grad():
        expected = network(image).numpy()
    assert expected.shape == (2, len(manifest.classes), 64, 80)
    file = io.BytesIO()
    torch.onnx.export(network, (image,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_stopped_resumes_exactly(
    name: str,
    tmp_path: Path,
    make_method: Callable[..., Any],
    open_toy: Callable[..., Any],
    make_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run()

    def job(out: Path, *, resume: bool = False) -> Job:
        method = make_method(name)
        return Job(
            method=method, run=run, data=open_toy(method, run), name="x", out=out, resume=resume
        )

    train(job(tmp_path / "whole"))
    kind = find_method(name)
    plain = kind.after_step

    def stopping(self: Any, progress: Progress) -> None:
        plain(self, progress)
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "after_step", stopping)
        with pytest.raises(InterruptedByUserError):
            train(job(tmp_path / "cut"))
    assert read_checkpoint(tmp_path / "cut" / "last.ckpt").step == 4
    train(job(tmp_path / "cut", resume=True))
    whole = read_checkpoint(tmp_path / "whole" / "last.ckpt")
    cut = read_checkpoint(tmp_path / "cut" / "last.ckpt")
    assert cut.step == whole.step == 6
    assert cut.weights.keys() == whole.weights.keys()
    for key, value in whole.weights.items():
        assert torch.equal(value, cut.weights[key]), key
    assert cut.state["best"] == whole.state["best"]
    network, manifest = load_deployable(tmp_path / "cut")
    assert not network.training
    assert manifest.source["step"] == cut.state["best"]["step"]
