"""Live mode with a model that takes stated shapes only, as a TensorRT engine does."""

from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from live_runs import SlowModel, live
from numpy.typing import NDArray

from trocar.contract.bundle import MODEL, open_bundle
from trocar.contract.errors import BackendError
from trocar.contract.tensorrt.engines import Profile
from trocar.runtime.backends import open_backend
from trocar.runtime.live.deadline import LOAD_LEVELS, Deadline
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session

CAMERA = (96, 120)


class EngineLike:
    """The tiny model on the CPU, which refuses what its profile excludes."""

    name, device, precision = "tensorrt", "cuda:0", "fp32"

    def __init__(self, bundle: Path, profile: Profile) -> None:
        manifest = open_bundle(bundle).manifest
        self._model = open_backend("onnxruntime", bundle / MODEL, manifest, threads=1)
        self.profile = profile
        self.runs: list[tuple[str, tuple[int, ...]]] = []

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        batch, height, width, _ = frames.shape
        self.runs.append((threading.current_thread().name, (batch, height, width)))
        if not self.profile.admits((batch, height, width)):
            raise BackendError("outside of the profile", remedy="none")
        return self._model.infer(frames)

    def close(self) -> None:
        self._model.close()


def static(batch: int = 1) -> Profile:
    shape = (batch, *CAMERA)
    return Profile(minimum=shape, optimum=shape, maximum=shape)


def opened(bundle: Path, profile: Profile) -> tuple[Session, EngineLike]:
    backend = EngineLike(bundle, profile)
    return Session(backend, open_bundle(bundle).manifest), backend


def camera(kit: ModuleType, **options: Any) -> Any:
    return kit.Camera(frames=9999, size=CAMERA, **options)


SHED = LiveOptions(deadline_ms=0.001, shed_load=True)


def test_shedding_load_never_leaves_the_profile(tiny_bundle: Path, kit: ModuleType) -> None:
    session, backend = opened(tiny_bundle, static())
    (stream,), (summary,) = live(
        session,
        camera(kit, fps=500),
        options=SHED,
        until=lambda streams: streams[0].deadline.level.frame_stride == 3,
    )
    assert summary.counts.failed == 0
    assert {shape for _, shape in backend.runs} == {(1, *CAMERA)}
    assert not stream.deadline.level.shrink


def test_two_streams_are_not_stacked_for_an_engine_of_batch_one(
    tiny_bundle: Path, kit: ModuleType
) -> None:
    session, backend = opened(tiny_bundle, static())
    _, summaries = live(
        session,
        camera(kit),
        camera(kit),
        until=lambda streams: min(s.counts.processed for s in streams) > 5,
    )
    assert [summary.counts.failed for summary in summaries] == [0, 0]
    assert {shape[0] for _, shape in backend.runs} == {1}


def test_every_shape_is_warm_on_the_thread_that_runs_it(tiny_bundle: Path, kit: ModuleType) -> None:
    network = open_bundle(tiny_bundle).manifest.input
    low = (1, network.height, network.width)
    session, backend = opened(tiny_bundle, Profile(minimum=low, optimum=low, maximum=(2, *CAMERA)))
    live(
        session,
        camera(kit),
        camera(kit),
        options=SHED,
        until=lambda streams: min(s.counts.processed for s in streams) > 2,
    )
    sizes = [low[1:], CAMERA]
    warm = [(batch, *size) for size in sizes for batch in (1, 1, 2, 2)]
    assert [shape for _, shape in backend.runs[: len(warm)]] == warm
    assert {thread for thread, _ in backend.runs} == {"trocar-model"}


def test_batches_are_filled_up_and_split(tiny_bundle: Path, tiny: ModuleType) -> None:
    """Whoever calls: three frames through an engine of batch two give what one run gives."""
    frames = np.stack([tiny.tiny_frame(*CAMERA, shift=shift) for shift in range(3)])
    session, backend = opened(tiny_bundle, static(batch=2))
    outputs = session.infer(frames)
    expected = backend._model.infer(frames)
    assert all(np.array_equal(outputs[name], expected[name]) for name in expected)
    assert [shape[0] for _, shape in backend.runs] == [2, 2]


def test_fast_resize_keeps_a_frame_that_may_not_be_smaller(
    tiny_bundle: Path, tiny: ModuleType
) -> None:
    session = Session(
        EngineLike(tiny_bundle, static()), open_bundle(tiny_bundle).manifest, fast_resize=True
    )
    assert session.prepare(tiny.tiny_frame(*CAMERA)).shape == (*CAMERA, 3)
    session.run(tiny.tiny_frame(*CAMERA))


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_failures_count_as_late(share: float) -> None:
    deadline = Deadline(30.0, shed_load=True)
    for index in range(30):
        if index < share * 30:
            deadline.record_failure()
        else:
            deadline.record(1.0)
    assert deadline.level == LOAD_LEVELS[int(share > 0.5)]
    assert deadline.missed == 0
    assert not Deadline(None).record_failure()


def test_a_model_that_fails_raises_the_level(tiny_bundle: Path, kit: ModuleType) -> None:
    session, _ = opened(tiny_bundle, static())
    model = SlowModel(session, fail=lambda call: True)
    (stream,), (summary,) = live(
        model,
        camera(kit, fps=500),
        options=LiveOptions(deadline_ms=1000.0, shed_load=True),
        until=lambda streams: streams[0].deadline.level.frame_stride > 1,
    )
    assert summary.counts.processed == 0
    assert stream.deadline.level.frame_stride > 1
