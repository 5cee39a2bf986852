"""Engines are refused reproducibly, for every difference by name, with the command to rebuild."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from trocar.contract.errors import BundleError, VersionError
from trocar.contract.tensorrt.engines import (
    EngineEnvironment,
    EngineSidecar,
    Profile,
    engine_fitness,
    platform_tag,
    rebuild_command,
)

PROFILE = Profile(minimum=(1, 480, 640), optimum=(1, 1080, 1920), maximum=(4, 1080, 1920))
BUILT = EngineSidecar(
    flavour="tensorrt",
    version="10.3.0.30",
    onnx_sha256="a" * 64,
    engine_sha256="b" * 64,
    precision="fp16",
    precision_found="fp16",
    precision_source="network",
    layers={"fp16": 35},
    profile=PROFILE,
    gpu="NVIDIA L4",
    capability="8.9",
    platform="linux-x86_64",
)
HERE = EngineEnvironment(
    flavour="tensorrt",
    version="10.3.0.30",
    onnx_sha256="a" * 64,
    gpu="NVIDIA L4",
    capability="8.9",
    platform="linux-x86_64",
    shape=(2, 1080, 1920),
    precision="fp16",
)


def test_an_engine_fits_where_it_was_built() -> None:
    assert engine_fitness(BUILT, HERE) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flavour": "tensorrt-rtx"}, "tensorrt-rtx was asked for"),
        ({"version": "10.3.0.31"}, "built by tensorrt 10.3.0.30, here is 10.3.0.31"),
        ({"onnx_sha256": "c" * 64}, "another model.onnx"),
        ({"gpu": "NVIDIA L40S"}, "built on NVIDIA L4, here is NVIDIA L40S"),
        ({"gpu": "NVIDIA T4", "capability": "7.5"}, "compute capability 8.9"),
        ({"gpu": "", "capability": ""}, "no NVIDIA GPU"),
        ({"platform": "linux-aarch64"}, "this is linux-aarch64"),
        ({"shape": (1, 1080, 1921)}, "the frames are batch 1 of 1080x1921"),
        ({"shape": (5, 1080, 1920)}, "the frames are batch 5"),
        ({"precision": "fp32"}, "it computes in fp16, fp32 was asked for"),
    ],
)
def test_each_difference_is_the_one_reason(change: dict[str, object], words: str) -> None:
    other = replace(HERE, **change)
    reasons = engine_fitness(BUILT, other)
    assert len(reasons) == 1
    assert words in reasons[0]
    assert engine_fitness(BUILT, other) == reasons


def test_all_differences_are_told_at_once() -> None:
    far = replace(HERE, version="11.1", onnx_sha256="c" * 64, gpu="NVIDIA T4", capability="7.5")
    assert len(engine_fitness(BUILT, far)) == 3


def test_compatible_engines_fit_more_but_not_everything() -> None:
    later = replace(BUILT, version_compatible=True)
    assert engine_fitness(later, replace(HERE, version="10.16.1")) == []
    assert engine_fitness(later, replace(HERE, version="10.2.0"))
    assert engine_fitness(later, replace(HERE, version="11.1.0"))
    ampere = replace(BUILT, hardware="ampere-and-later")
    assert engine_fitness(ampere, replace(HERE, gpu="NVIDIA H100", capability="9.0")) == []
    assert engine_fitness(ampere, replace(HERE, gpu="NVIDIA B200", capability="10.0")) == []
    assert engine_fitness(ampere, replace(HERE, gpu="NVIDIA T4", capability="7.5"))
    same = replace(BUILT, hardware="same-capability")
    assert engine_fitness(same, replace(HERE, gpu="NVIDIA L40S")) == []
    assert engine_fitness(same, replace(HERE, gpu="NVIDIA A10", capability="8.6"))


def test_rtx_engines_run_on_rtx_generations_only() -> None:
    rtx = replace(BUILT, flavour="tensorrt-rtx", hardware="any-rtx", gpu="", capability="")
    here = replace(HERE, flavour="tensorrt-rtx", gpu="RTX 5090", capability="12.0")
    assert engine_fitness(rtx, here) == []
    reasons = engine_fitness(rtx, replace(here, gpu="NVIDIA H100", capability="9.0"))
    assert len(reasons) == 1
    assert "NVIDIA H100 has 9.0" in reasons[0]


def test_the_rebuilding_command_is_for_these_frames() -> None:
    command = rebuild_command(BUILT, "m.trocar")
    assert command == (
        "trocar export m.trocar --engine tensorrt "
        "--engine-shape 640x480:1920x1080:1920x1080 --batch 1:1:4"
    )
    other = rebuild_command(BUILT, "m.trocar", shape=(1, 2160, 3840))
    assert other.endswith("--engine-shape 3840x2160 --batch 1")


def test_a_sidecar_survives_json_and_ignores_unknown_fields() -> None:
    data = json.loads(BUILT.to_json())
    data["of a later release"] = 1
    assert EngineSidecar.from_json(json.dumps(data)) == BUILT


def test_the_sidecar_keeps_its_json_keys() -> None:
    verified = replace(BUILT, verified=True, verification="equal on 3 frames")
    data = json.loads(verified.to_json())
    assert (data["proven"], data["proof"]) == (True, "equal on 3 frames")
    assert not {"verified", "verification"} & set(data)
    assert EngineSidecar.from_json(verified.to_json()) == verified


def test_an_engine_fits_the_platform_that_it_was_built_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # Windows calls its machines AMD64; the tag is in lower case on both sides.
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    built = replace(BUILT, platform=platform_tag())
    assert built.platform == "windows-amd64"
    assert engine_fitness(built, replace(HERE, platform=platform_tag())) == []


def shapes(*batches: int) -> dict[str, list[int]]:
    names = ("minimum", "optimum", "maximum")
    return {name: [batch, 1, 1] for name, batch in zip(names, batches, strict=True)}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"schema": "2.0"}, VersionError),
        ({"schema": None}, VersionError),
        ({"flavour": "other"}, BundleError),
        ({"hardware": "any"}, BundleError),
        ({"profile": {}}, BundleError),
        ({"profile": shapes(2, 1, 3)}, BundleError),
        ({"profile": shapes(0, 1, 3)}, BundleError),
        ({"gpu": 3}, BundleError),
        ({"stripped": "no"}, BundleError),
    ],
)
def test_a_malformed_sidecar_is_refused(change: dict[str, object], error: type) -> None:
    data = {**json.loads(BUILT.to_json()), **change}
    with pytest.raises(error) as caught:
        EngineSidecar.from_json(json.dumps(data))
    assert caught.value.remedy


def test_no_json_is_refused() -> None:
    for text in ("", "[]", "nonsense"):
        with pytest.raises(BundleError):
            EngineSidecar.from_json(text)


@pytest.mark.parametrize(
    "value",
    ["NaN", "-Infinity", str(2**53), '"\\ud800"', "[" * 200 + "]" * 200],
    ids=["not a number", "infinity", "large integer", "half a pair", "nesting"],
)
def test_a_sidecar_is_strict_json(value: str) -> None:
    # The C++ runtime refuses the same documents.
    assert json.loads(value) is not None
    text = BUILT.to_json().replace("{", f'{{"of a later release": {value}, ', 1)
    with pytest.raises(BundleError, match="is not JSON"):
        EngineSidecar.from_json(text)


def test_a_sidecar_is_in_utf8() -> None:
    assert EngineSidecar.from_json(BUILT.to_json().encode()) == BUILT
    with pytest.raises(BundleError, match="is not JSON"):
        EngineSidecar.from_json(BUILT.to_json().encode("utf-16"))
