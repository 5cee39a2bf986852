"""Which engine of a bundle runs here, and what `inspect` and `benchmark` say of engines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from trocar.commands.benchmark import benchmark
from trocar.commands.inspect import inspect
from trocar.contract.bundle import MODEL, open_bundle, update_bundle
from trocar.contract.errors import BackendError
from trocar.contract.tensorrt.engines import EngineSidecar, Profile
from trocar.contract.tensorrt.gpu import Gpu
from trocar.runtime import Session
from trocar.runtime.backends import engine_selection as engines
from trocar.runtime.pipeline.assemble import sizes_of
from trocar.runtime.sources.open import open_source

HD = (1, 1080, 1920)


def sidecar_for(bundle_path: Path, **changes: Any) -> EngineSidecar:
    shape = (1, 96, 120)
    return replace(
        EngineSidecar(
            flavour="tensorrt",
            version="10.16.1.11",
            onnx_sha256=open_bundle(bundle_path).manifest.files[MODEL],
            engine_sha256="0" * 64,
            precision="fp32",
            precision_found="fp32",
            precision_source="network",
            layers={"fp32": 1},
            profile=Profile(minimum=shape, optimum=shape, maximum=shape),
            gpu="NVIDIA L4",
            capability="8.9",
        ),
        **changes,
    )


@pytest.fixture
def with_engine(tiny: ModuleType, tmp_path: Path) -> Path:
    """A bundle with one engine file that no library would load."""
    path: Path = tiny.make_tiny_bundle(tmp_path / "e.trocar")
    data = b"no real engine"
    sidecar = sidecar_for(path, engine_sha256=hashlib.sha256(data).hexdigest())
    update_bundle(
        open_bundle(path),
        add={"engines/l4.engine": data, "engines/l4.json": sidecar.to_json().encode()},
    )
    return path


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def be(name: str = "NVIDIA L4", capability: str = "8.9", version: str = "10.16.1.11") -> None:
        monkeypatch.setattr("trocar.runtime.devices.cuda_count", lambda: (1, ""))
        monkeypatch.setattr(engines, "find_gpu", lambda index: Gpu(name, capability))
        library = SimpleNamespace(__version__=version)
        monkeypatch.setattr(engines, "import_library", lambda flavour: library)
        monkeypatch.setattr("platform.system", lambda: "Linux")

    return be


def test_the_engine_that_fits_is_chosen(with_engine: Path, with_gpu: Callable[..., None]) -> None:
    with_gpu()
    bundle = open_bundle(with_engine)
    found = engines.find_engine(bundle, flavour="tensorrt", device="cuda:0")
    assert found == "engines/l4.engine"


@pytest.mark.parametrize(
    ("gpu", "asked", "words"),
    [
        ({"name": "NVIDIA A10", "capability": "8.6"}, {}, "built on NVIDIA L4"),
        ({"version": "11.1.0"}, {}, "built by tensorrt 10.16.1.11, here is 11.1.0"),
        ({}, {"flavour": "tensorrt-rtx"}, "tensorrt-rtx was asked for"),
        ({}, {"precision": "fp16"}, "computes in fp32, fp16 was asked for"),
        ({}, {"shape": (2, 96, 120)}, "the frames are batch 2 of 96x120"),
    ],
)
def test_an_engine_that_does_not_fit_says_why(
    with_engine: Path,
    with_gpu: Callable[..., None],
    gpu: dict[str, str],
    asked: dict[str, Any],
    words: str,
) -> None:
    with_gpu(**gpu)
    bundle = open_bundle(with_engine)
    with pytest.raises(BackendError, match=words) as caught:
        engines.find_engine(bundle, **{"flavour": "tensorrt", "device": "cuda:0", **asked})
    assert caught.value.remedy.startswith("trocar export")


def add_engine(path: Path, name: str, profile: Profile) -> None:
    data = name.encode()
    sidecar = sidecar_for(path, engine_sha256=hashlib.sha256(data).hexdigest(), profile=profile)
    added = {f"engines/{name}.engine": data, f"engines/{name}.json": sidecar.to_json().encode()}
    update_bundle(open_bundle(path), add=added)


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([(1080, 1920)], "hd"),
        ([(1920, 1080)], "hd"),
        ([(720, 1280)], "any"),
        ([(96, 120)], "l4"),
        ([(1080, 1920), (720, 1280)], "any"),
        ([], "any"),
    ],
)
def test_the_engine_takes_the_size_of_the_frames(
    with_engine: Path,
    with_gpu: Callable[..., None],
    sizes: list[tuple[int, int]],
    chosen: str,
) -> None:
    with_gpu()
    add_engine(with_engine, "hd", Profile(minimum=HD, optimum=HD, maximum=HD))
    wide = Profile(minimum=(1, 480, 640), optimum=(1, 720, 1280), maximum=HD)
    add_engine(with_engine, "any", wide)
    bundle = open_bundle(with_engine)
    found = engines.find_engine(bundle, flavour="tensorrt", device="cuda", frame_sizes=sizes)
    assert found == f"engines/{chosen}.engine"


def test_no_engine_takes_the_size_of_the_frames(
    with_engine: Path, with_gpu: Callable[..., None]
) -> None:
    with_gpu()
    with pytest.raises(BackendError, match="of 96x120, the frames are 1080x1920") as caught:
        Session.open(with_engine, backend="tensorrt", device="cuda", frame_sizes=[(1080, 1920)])
    assert "--engine-shape 1920x1080 --batch 1" in caught.value.remedy


def test_a_run_states_the_size_of_its_frames(video: Path) -> None:
    source = open_source(str(video))
    assert sizes_of([source, source]) == ((120, 160),)
    source.close()


def test_a_bundle_without_engines_names_the_command(
    tiny_bundle: Path, with_gpu: Callable[..., None]
) -> None:
    with_gpu()
    with pytest.raises(BackendError, match="holds no engine") as caught:
        Session.open(tiny_bundle, backend="tensorrt", device="cuda")
    assert "--engine tensorrt" in caught.value.remedy


def test_inspect_lists_engines_and_their_fitness(
    with_engine: Path, with_gpu: Callable[..., None]
) -> None:
    with_gpu(version="11.1.0")
    done = CliRunner().invoke(inspect, [str(with_engine)], catch_exceptions=False)
    assert "engines" in done.output
    assert "11.1.0" in done.output.replace("\n", "")


def test_benchmark_lists_what_ran_and_what_did_not(tiny_bundle: Path) -> None:
    done = CliRunner().invoke(
        benchmark,
        [str(tiny_bundle), "--seconds", "0.05", "--json", "--threads", "1", "--size", "131x97"],
        catch_exceptions=False,
    )
    rows = [json.loads(line) for line in done.output.splitlines()]
    first = rows[0]
    assert (first["backend"], first["device"], first["precision"]) == ("onnxruntime", "cpu", "fp32")
    assert first["equal"] == 1.0
    assert 0 < first["p50"] <= first["p99"]
    assert first["reason"] == ""
    for row in rows:
        assert bool(row["reason"]) == (row["fps"] == 0)
    assert {"tensorrt", "tensorrt-rtx"} <= {row["backend"] for row in rows}
