"""TensorRT needs a GPU: its options run against stand-ins made of the recorded interfaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trocar.contract.errors import BackendError
from trocar.contract.tensorrt.engines import Profile
from trocar.export.tensorrt.build import EngineOptions, _configure, _save_timing_cache
from trocar.export.tensorrt.inspector import network_layers, precision_in_inspection, precision_of
from trocar.export.tensorrt.progress import Log, run_build

LISTS = Path(__file__).parent / "api_names"
PROFILE = Profile(minimum=(1, 480, 640), optimum=(2, 480, 640), maximum=(4, 1080, 1920))


class Names:
    """Enumerations: every recorded name is its own value; others are attribute errors."""

    def __init__(self, owner: str, names: list[str]) -> None:
        self._owner, self._names = owner, names

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"{self._owner} has no {name} in this version")
        return f"{self._owner}.{name}"


class Recorder:
    """An object of the library: recorded names may be called and set, nothing else."""

    def __init__(self, owner: str, names: list[str], answers: dict[str, Any]) -> None:
        object.__setattr__(self, "known", (owner, names, answers))
        object.__setattr__(self, "calls", [])

    def __getattr__(self, name: str) -> Any:
        owner, names, answers = self.known
        if name not in names:
            raise AttributeError(f"{owner} has no {name} in this version")

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            answer = answers.get(name)
            return answer(*args, **kwargs) if callable(answer) else answer

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        owner, names, _ = self.known
        if name not in names:
            raise AttributeError(f"{owner} has no {name} in this version")
        self.calls.append((name, (value,), {}))
        self.__dict__[name] = value


class Library:
    """A stand-in for the ``tensorrt`` module of one version."""

    def __init__(self, version: str) -> None:
        data = json.loads((LISTS / f"tensorrt-{version}.json").read_text(encoding="utf-8"))
        self.names: dict[str, list[str]] = data["names"]
        self.__version__ = data["version"]
        severity = Names("Severity", self.names["Severity"])
        self.ILogger = type("ILogger", (), {"Severity": severity})
        self.IProgressMonitor = type("IProgressMonitor", (), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.names["module"]:
            raise AttributeError(f"tensorrt has no {name} in this version")
        return Names(name, self.names[name])

    def make(self, owner: str, **answers: Any) -> Recorder:
        return Recorder(owner, self.names[owner], answers)


class Cache:
    def serialize(self) -> bytes:
        return b"measured anew"


def configured(version: str, options: EngineOptions) -> tuple[Recorder, Recorder]:
    trt = Library(version)
    config = trt.make(
        "IBuilderConfig",
        add_optimization_profile=0,
        create_timing_cache=lambda data: ("cache of", data),
        get_timing_cache=Cache(),
    )
    config.known[2]["get_timing_cache"] = lambda: Cache()
    profile = trt.make("IOptimizationProfile")
    builder = trt.make(
        "Builder",
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: profile,
    )
    tensor = type("Tensor", (), {"name": "frame"})()
    network = trt.make("INetworkDefinition", get_input=lambda index: tensor)
    assert _configure(trt, builder, network, options) is config
    return config, profile


VERSIONS = ("10.0", "10.16", "11.1")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_option_reaches_the_library(version: str, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    cache.write_bytes(b"measured before")
    options = EngineOptions(
        flavour="tensorrt",
        profile=PROFILE,
        workspace_mib=256,
        optimization_level=4,
        hardware_compatibility="ampere-and-later",
        version_compatible=True,
        strip_weights=True,
        timing_cache=cache,
    )
    config, profile = configured(version, options)
    shapes = [args for name, args, _ in profile.calls if name == "set_shape"]
    assert shapes == [("frame", (1, 480, 640, 3), (2, 480, 640, 3), (4, 1080, 1920, 3))]
    flags = {args[0] for name, args, _ in config.calls if name == "set_flag"}
    assert flags == {
        "BuilderFlag.VERSION_COMPATIBLE",
        "BuilderFlag.STRIP_PLAN",
        "BuilderFlag.REFIT",
    }
    calls = {name: args for name, args, _ in config.calls}
    assert calls["set_memory_pool_limit"] == ("MemoryPoolType.WORKSPACE", 256 << 20)
    assert calls["builder_optimization_level"] == (4,)
    level = "HardwareCompatibilityLevel.AMPERE_PLUS"
    assert calls["hardware_compatibility_level"] == (level,)
    assert calls["set_timing_cache"] == (("cache of", b"measured before"),)
    _save_timing_cache(config, options)
    assert cache.read_bytes() == b"measured anew"


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_set_that_was_not_asked_for(version: str) -> None:
    config, _ = configured(version, EngineOptions(flavour="tensorrt", profile=PROFILE))
    assert [name for name, _, _ in config.calls] == [
        "add_optimization_profile",
        "clear_flag",
        "profiling_verbosity",
    ]


@pytest.mark.parametrize("version", [*VERSIONS, "rtx"])
def test_tf32_is_off_unless_it_is_asked_for(version: str) -> None:
    """It is on by default in the library, and another precision than float32."""
    flavour = "tensorrt-rtx" if version == "rtx" else "tensorrt"
    number = "rtx-1.7" if version == "rtx" else version
    for tf32, call in ((False, "clear_flag"), (True, "set_flag")):
        options = EngineOptions(flavour=flavour, profile=PROFILE, tf32=tf32)
        config, _ = configured(number, options)
        assert (call, ("BuilderFlag.TF32",), {}) in config.calls
        wants = ("set_flag", ("BuilderFlag.REQUIRE_USER_ALLOCATION",), {})
        # What an RTX engine needs so that a CUDA graph can be recorded.
        assert (wants in config.calls) == (flavour == "tensorrt-rtx")


def test_a_level_that_a_version_lacks_is_refused_in_words() -> None:
    options = EngineOptions(
        flavour="tensorrt", profile=PROFILE, hardware_compatibility="same-capability"
    )
    with pytest.raises(
        BackendError, match=r"TensorRT 10\.0.* has no hardware compatibility level"
    ) as caught:
        configured("10.0", options)
    assert "ampere-and-later" in caught.value.remedy
    config, _ = configured("11.1", options)
    levels = [args for name, args, _ in config.calls if name == "hardware_compatibility_level"]
    assert levels == [("HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY",)]


def test_a_refused_profile_is_a_fault() -> None:
    trt = Library("11.1")
    config = trt.make("IBuilderConfig", add_optimization_profile=-1)
    builder = trt.make(
        "Builder",
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: trt.make("IOptimizationProfile"),
    )
    tensor = type("Tensor", (), {"name": "frame"})()
    network = trt.make("INetworkDefinition", get_input=lambda index: tensor)
    with pytest.raises(BackendError, match="refuses the profile batch 1 of 480x640 to"):
        _configure(trt, builder, network, EngineOptions(flavour="tensorrt", profile=PROFILE))


def test_a_build_tells_its_progress_and_hands_on_failures() -> None:
    trt = Library("10.16")
    steps: list[tuple[int, int]] = []

    def build(network: Any, config: Any) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("outer", None, 2)
        monitor.phase_start("inner", "outer", 3)
        going = [monitor.step_complete("inner", i) for i in range(2)]
        monitor.phase_finish("inner")
        going.append(monitor.step_complete("outer", 0))
        monitor.phase_finish("outer")
        assert going == [True] * 3
        return b"plan"

    builder = trt.make("Builder", build_serialized_network=build)
    config = trt.make("IBuilderConfig")
    plan = run_build(trt, builder, None, config, lambda _, done, total: steps.append((done, total)))
    assert plan == b"plan"
    assert steps[-1] == (5, 5)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)

    def fail(network: Any, config: Any) -> None:
        raise MemoryError("no more")

    with pytest.raises(MemoryError):
        run_build(trt, trt.make("Builder", build_serialized_network=fail), None, config, None)


def test_the_log_keeps_the_cause_and_knows_memory() -> None:
    trt = Library("11.1")
    log = Log(trt)
    log.sink.log("Severity.WARNING", "just a word")
    assert log.first_error() == "it gave no reason"
    log.sink.log("Severity.ERROR", "Tactic Device request: Out of memory\n  in layer 3")
    log.sink.log("Severity.INTERNAL_ERROR", "later")
    assert log.first_error() == "Tactic Device request: Out of memory in layer 3"
    assert log.mentions_memory()


@pytest.mark.parametrize("version", VERSIONS)
def test_layers_are_counted_by_what_they_compute_in(version: str) -> None:
    trt = Library(version)

    class Tensor:
        def __init__(self, name: str, dtype: Any) -> None:
            self.name, self.dtype = name, dtype

    class Layer:
        def __init__(self, kind: str, source: Tensor, made: Tensor) -> None:
            self.type = getattr(trt.LayerType, kind)
            self.ends = (source, made)

        def get_input(self, index: int) -> Tensor:
            return self.ends[0]

        def get_output(self, index: int) -> Tensor:
            return self.ends[1]

    kinds = trt.DataType
    a, b = Tensor("a", kinds.FLOAT), Tensor("b", kinds.FLOAT)
    h, q = Tensor("h", kinds.HALF), Tensor("q", kinds.INT8)
    layers = [
        Layer("CONVOLUTION", a, b),
        Layer("MATRIX_MULTIPLY", h, h),
        Layer("QUANTIZE", a, q),
        Layer("DEQUANTIZE", q, Tensor("back", kinds.FLOAT)),
        Layer("CONVOLUTION", Tensor("back", kinds.FLOAT), b),
        Layer("ACTIVATION", h, h),
    ]
    network = type(
        "Network", (), {"num_layers": len(layers), "get_layer": lambda self, i: layers[i]}
    )()
    counts = network_layers(trt, network)
    assert counts == {"fp16": 1, "fp32": 1, "int8": 1}
    assert precision_of(counts) == "int8"
    assert precision_of({"fp16": 3, "fp32": 30}) == "fp16"
    assert precision_of({"fp32": 30}) == precision_of({}) == "fp32"


def test_an_inspectors_answer_is_read() -> None:
    def answer(kind: str, datatype: str) -> str:
        layer = {
            "Name": "network.head/Conv",
            "LayerType": kind,
            "Inputs": [{"Name": "x", "Format/Datatype": datatype}],
            "Outputs": [{"Name": "y", "Format/Datatype": datatype}],
        }
        other = {"Name": "confidence", "LayerType": "Cast", "Inputs": [],
                 "Outputs": [{"Format/Datatype": "Half"}]}  # fmt: skip
        return json.dumps({"Layers": [layer, other], "Bindings": []})

    assert precision_in_inspection(answer("CaskConvolution", "Row major linear FP32")) == "fp32"
    assert precision_in_inspection(answer("CaskConvolution", "Half")) == "fp16"
    assert precision_in_inspection(answer("CaskConvolution", "FP16 NHWC8")) == "fp16"
    assert precision_in_inspection(answer("CaskConvolution", "Int8 NC/32HW32")) == "int8"
    # Engines without detailed names list layers as texts, which tell nothing.
    assert precision_in_inspection(json.dumps({"Layers": ["conv1", "conv2"]})) is None
    assert precision_in_inspection("no JSON") is None
