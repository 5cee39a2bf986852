"""Opening engines without a GPU: weights put back, own golden frames, batches above one."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from trocar.contract.bundle import GOLDEN, MODEL, open_bundle, update_bundle
from trocar.contract.errors import BackendError, ParityError
from trocar.contract.tensorrt.engines import EngineSidecar, Profile
from trocar.runtime import Session
from trocar.runtime.backends import tensorrt

SIZE = (60, 70)


def add_engine(path: Path, **changes: Any) -> Path:
    """Adds an engine of batch 2 to 4 and another frame size than the bundle's golden frame."""
    bundle = open_bundle(path)
    with np.load(io.BytesIO(bundle.read(GOLDEN))) as held:
        frame = cv2.resize(held["frame"], SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    session = onnxruntime.InferenceSession(str(bundle.model), providers=["CPUExecutionProvider"])
    (labels,) = session.run(["labels"], {"frame": frame[None]})
    golden = io.BytesIO()
    # Two classes' logits are never nearer than this: every pixel counts.
    np.savez(golden, frame=frame, labels=labels[0], margin=np.ones(labels[0].shape, np.float32))
    data = b"an engine"
    sidecar = EngineSidecar(
        flavour="tensorrt",
        version="10.16.1.11",
        onnx_sha256=bundle.manifest.files[MODEL],
        engine_sha256=hashlib.sha256(data).hexdigest(),
        precision="fp32",
        precision_found="fp32",
        precision_source="network",
        layers={"fp32": 1},
        profile=Profile(minimum=(2, *SIZE), optimum=(2, *SIZE), maximum=(4, *SIZE)),
        gpu="NVIDIA L4",
        capability="8.9",
    )
    sidecar = replace(sidecar, **changes)
    update_bundle(
        bundle,
        add={
            "engines/a.engine": data,
            "engines/a.json": sidecar.to_json().encode(),
            "engines/a.golden.npz": golden.getvalue(),
        },
    )
    return path / "engines" / "a.engine"


class EngineOfTwo:
    """Answers as the graph does, and takes what the profile takes."""

    name, device, precision = "tensorrt", "cuda:0", "fp32"
    manifest = None

    def __init__(self, model: Path, *, wrong: int | None = None) -> None:
        self.session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        self.wrong = wrong
        self.shapes: list[tuple[int, ...]] = []
        self.closed = False

    def infer(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        self.shapes.append(frames.shape)
        assert 2 <= len(frames) <= 4
        assert frames.shape[1:3] == SIZE
        names = ["labels", "confidence"]
        answers = dict(zip(names, self.session.run(names, {"frame": frames}), strict=True))
        if self.wrong is not None:
            answers["labels"][self.wrong, 5, 5] ^= 1
        return answers

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("wrong", [None, 0, 1])
def test_an_engines_own_golden_frame_is_replayed_as_often_as_it_must(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: int | None
) -> None:
    path = tiny.make_tiny_bundle(tmp_path / "t.trocar")
    add_engine(path)
    engine = EngineOfTwo(path / MODEL, wrong=wrong)
    monkeypatch.setattr(
        "trocar.runtime.backends.engine_selection.find_engine", lambda *a, **k: "engines/a.engine"
    )
    monkeypatch.setattr("trocar.runtime.session.open_backend", lambda *a, **k: engine)
    if wrong is None:
        with Session.open(path, backend="tensorrt", device="cuda:0") as session:
            assert session.golden
    else:
        with pytest.raises(ParityError, match="differs from the exporter on 1 of"):
            Session.open(path, backend="tensorrt", device="cuda:0")
    assert engine.shapes == [(2, *SIZE, 3)]
    assert engine.closed


class Library:
    """What `_load` asks of TensorRT; notes what was done."""

    __version__ = "10.16.1.11"

    def __init__(self, *, takes: bool = True, finishes: bool = True) -> None:
        self.done: list[str] = []
        self.runtime = SimpleNamespace(
            engine_host_code_allowed=False, deserialize_cuda_engine=lambda data: "engine"
        )
        self.takes, self.finishes = takes, finishes

        def logger(level: int) -> str:
            return "logger"

        logger.ERROR = 1  # type: ignore[attr-defined]
        self.Logger = logger

    def Runtime(self, logger: str) -> Any:
        return self.runtime

    def Refitter(self, engine: str, logger: str) -> Any:
        def refit() -> bool:
            self.done.append("refit")
            return self.finishes

        return SimpleNamespace(refit_cuda_engine=refit)

    def OnnxParserRefitter(self, refitter: Any, logger: str) -> Any:
        def parse(path: str) -> bool:
            self.done.append(Path(path).name)
            return self.takes

        return SimpleNamespace(refit_from_file=parse)


def load(library: Library, engine: Path) -> Any:
    sidecar = EngineSidecar.from_json(engine.with_suffix(".json").read_bytes())
    return tensorrt._load(library, engine, sidecar)


def test_a_stripped_engine_gets_its_weights_from_the_graph(
    tiny: ModuleType, tmp_path: Path
) -> None:
    engine = add_engine(tiny.make_tiny_bundle(tmp_path / "t.trocar"), stripped=True)
    library = Library()
    assert load(library, engine) == "engine"
    assert library.done == [MODEL, "refit"]
    assert not library.runtime.engine_host_code_allowed


@pytest.mark.parametrize("fault", [{"takes": False}, {"finishes": False}])
def test_weights_that_do_not_go_in_are_refused_with_the_way_out(
    tiny: ModuleType, tmp_path: Path, fault: dict[str, bool]
) -> None:
    path = tiny.make_tiny_bundle(tmp_path / "t.trocar")
    engine = add_engine(path, stripped=True)
    with pytest.raises(BackendError, match=r"holds no weights and does not take") as caught:
        load(Library(**fault), engine)
    assert f"trocar export {path} --engine tensorrt" in caught.value.remedy
    assert "--engine-shape 70x60 --batch 2:2:4" in caught.value.remedy
    assert caught.value.remedy.endswith("without --strip-weights")


def test_weights_of_another_graph_are_never_put_in(tiny: ModuleType, tmp_path: Path) -> None:
    engine = add_engine(
        tiny.make_tiny_bundle(tmp_path / "t.trocar"), stripped=True, onnx_sha256="0" * 64
    )
    library = Library()
    with pytest.raises(BackendError, match=r"is not the graph it was built from"):
        load(library, engine)
    assert library.done == []


def test_engines_for_later_versions_may_bring_their_runtime(
    tiny: ModuleType, tmp_path: Path
) -> None:
    engine = add_engine(tiny.make_tiny_bundle(tmp_path / "t.trocar"), version_compatible=True)
    library = Library()
    load(library, engine)
    assert library.runtime.engine_host_code_allowed
    assert library.done == []


def test_an_engine_that_is_not_taken_is_said(tiny: ModuleType, tmp_path: Path) -> None:
    engine = add_engine(tiny.make_tiny_bundle(tmp_path / "t.trocar"))
    library = Library()
    library.runtime.deserialize_cuda_engine = lambda data: None
    with pytest.raises(BackendError, match=r"tensorrt 10.16.1.11 does not load a.engine"):
        load(library, engine)
