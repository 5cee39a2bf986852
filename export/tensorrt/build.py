"""Builds engines of TensorRT 10, TensorRT 11 and TensorRT for RTX from a bundle's graph.

    built = build_engine(model, options, precision="fp16")
    built.data, built.sidecar

Networks are strongly typed: the engine computes in the precision that the graph states. That
precision is read back and compared with the bundle's. TensorRT for RTX builds without a GPU;
TensorRT builds on the GPU that will run the engine.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import (
    ArgumentError,
    BackendError,
    ConfigError,
    MissingExtraError,
    SinkError,
)
from trocar.contract.tensorrt.engines import (
    FLAVOURS,
    LIBRARIES,
    EngineSidecar,
    Profile,
    import_library,
    platform_tag,
)
from trocar.contract.tensorrt.gpu import Gpu, find_gpu
from trocar.export.tensorrt.inspector import engine_precision, network_layers, precision_of
from trocar.export.tensorrt.progress import Log, run_build

HARDWARE_LEVELS = {
    "same-capability": "SAME_COMPUTE_CAPABILITY",
    "ampere-and-later": "AMPERE_PLUS",
}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How to build one engine.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        profile: Input shapes that the engine takes.
        workspace_mib: Largest scratch memory of one layer in MiB; ``None`` for the library's
            default.
        optimization_level: 0..5; ``None`` for the library's default.
        hardware_compatibility: GPUs that the engine must run on: ``this-gpu``,
            ``same-capability`` or ``ampere-and-later`` (TensorRT only).
        version_compatible: Later versions of the same major can load the engine (TensorRT only).
        strip_weights: Leave the weights out; they are refitted from ``model.onnx`` on loading.
        refit: Weights can be replaced.
        timing_cache: File of measured kernel timings, read and written (TensorRT only).
        tf32: Products of an fp32 graph may be rounded to TF32, which the sidecar then states.
    """

    flavour: str
    profile: Profile
    workspace_mib: int | None = None
    optimization_level: int | None = None
    hardware_compatibility: str = "this-gpu"
    version_compatible: bool = False
    strip_weights: bool = False
    refit: bool = False
    timing_cache: Path | None = None
    tf32: bool = False

    def __post_init__(self) -> None:
        faults = []
        if self.flavour not in FLAVOURS:
            faults.append(f"engine is {self.flavour!r}, expected one of {', '.join(FLAVOURS)}")
        level = self.optimization_level
        if level is not None and not 0 <= level <= 5:
            faults.append(f"optimisation level is {level}, expected 0..5")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            faults.append(f"workspace is {self.workspace_mib} MiB, expected 1 or more")
        if self.flavour == "tensorrt-rtx":
            # Its engines run on all RTX GPUs; its timing caches have no effect.
            given = {
                "timing cache": self.timing_cache is not None,
                "version compatibility": self.version_compatible,
                "hardware compatibility level": self.hardware_compatibility != "this-gpu",
            }
            faults += [
                f"TensorRT for RTX has no {name}" for name, is_set in given.items() if is_set
            ]
        if faults:
            raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")


@dataclass(frozen=True)
class BuiltEngine:
    """A serialized engine with its sidecar."""

    data: bytes
    sidecar: EngineSidecar


def check_engine(options: EngineOptions) -> tuple[ModuleType, Gpu | None]:
    """Checks whether this machine can build such an engine.

    Returns:
        The library, and this machine's GPU if it has one.

    Raises:
        BackendError: TensorRT without a GPU; weights to strip without one.
        MissingExtraError: The library is not installed, or what runs the engine here.
    """
    gpu = find_gpu()
    if options.flavour == "tensorrt" and gpu is None:
        raise BackendError(
            "tensorrt builds an engine on the NVIDIA GPU that will run it; there is no GPU here",
            remedy="run this on the machine with that GPU, or pass --engine tensorrt-rtx, which "
            "builds without a GPU",
        )
    if (options.strip_weights or options.refit) and gpu is None:
        raise BackendError(
            f"{options.flavour} cannot make refittable engines without an NVIDIA GPU",
            remedy="remove --strip-weights and --refit, or build on a machine with a GPU",
        )
    library = import_library(options.flavour)
    if gpu is not None and not _is_installed("cuda.bindings"):
        # The engine is run through the gate when it is built, which takes minutes.
        raise MissingExtraError(
            "the engine could be built and not run: the Python package 'cuda.bindings' is missing",
            remedy=f"pip install 'trocar[{LIBRARIES[options.flavour].extra}]'",
        )
    return library, gpu


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def build_engine(
    model: bytes,
    options: EngineOptions,
    *,
    precision: str,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> BuiltEngine:
    """Builds one engine.

    Args:
        model: The bundle's ``model.onnx``.
        options: Flavour, shapes and build options.
        precision: Precision of the bundle.
        on_progress: Called from the library's own progress monitor.

    Raises:
        BackendError: No GPU, too little memory, or a network that the library cannot build.
        ArgumentError: An operator that it does not have; the message names it and its layer.
        KeyboardInterrupt: Ctrl-C; the build has ended when this is raised.
    """
    trt, gpu = check_engine(options)
    _refuse_cpu_graph(model)
    log = Log(trt)
    builder = trt.Builder(log.sink)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log.sink)
    if not parser.parse(model):
        raise _parse_error(parser, options, log)
    layers = network_layers(trt, network)
    network_precision = precision_of(layers)
    if network_precision != precision:
        raise BackendError(
            f"{options.flavour} reads the graph as {network_precision} ({layers}), "
            f"expected {precision}",
            remedy="export the bundle again with that precision",
        )
    if options.tf32 and precision != "fp32":
        raise ConfigError(
            f"TF32 is for fp32 graphs, the bundle is {precision}",
            remedy="leave --tf32 out, or name an fp32 bundle",
        )
    config = _configure(trt, builder, network, options)
    plan = run_build(trt, builder, network, config, on_progress)
    if plan is None:
        raise _build_error(options, log)
    data = bytes(plan)
    _save_timing_cache(config, options)
    source = "network"
    if gpu is not None:
        inspected = engine_precision(trt, log.sink, data)
        if inspected is not None:
            source = "engine"
            if precision != "fp32" and inspected == "fp32":
                raise BackendError(
                    f"{options.flavour} built an fp32 engine from a {precision} graph",
                    remedy="report this with the versions that `trocar doctor` prints",
                )
    hardware = options.hardware_compatibility
    sidecar = EngineSidecar(
        flavour=options.flavour,
        version=str(trt.__version__),
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        engine_sha256=hashlib.sha256(data).hexdigest(),
        precision=precision,
        precision_found="tf32" if options.tf32 else network_precision,
        precision_source=source,
        layers=layers,
        profile=options.profile,
        gpu=gpu.name if gpu else "",
        capability=gpu.capability if gpu else "",
        hardware="any-rtx" if options.flavour == "tensorrt-rtx" else hardware,
        version_compatible=options.version_compatible,
        stripped=options.strip_weights,
        refittable=options.refit or options.strip_weights,
        platform=platform_tag(),
        options=_given(options),
        verification="not run yet",
    )
    return BuiltEngine(data, sidecar)


def _configure(trt: ModuleType, builder: Any, network: Any, options: EngineOptions) -> Any:
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    low, best, high = (
        (*shape, 3)
        for shape in (options.profile.minimum, options.profile.optimum, options.profile.maximum)
    )
    profile.set_shape(network.get_input(0).name, low, best, high)
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(
            f"{options.flavour} refuses the profile {options.profile}",
            remedy="write --engine-shape and --batch as MIN:OPT:MAX, in rising order",
        )
    # On by default in every TensorRT, although it is another precision than float32.
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.flavour == "tensorrt-rtx":
        # Without it the engine allocates memory while it runs, and no CUDA graph can be recorded.
        flag = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
        if flag is not None:
            config.set_flag(flag)
    # Without this the inspector gives no tensor formats.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if options.refit or options.strip_weights:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.hardware_compatibility != "this-gpu":
        name = HARDWARE_LEVELS[options.hardware_compatibility]
        level = getattr(trt.HardwareCompatibilityLevel, name, None)
        if level is None:
            raise BackendError(
                f"TensorRT {trt.__version__} has no hardware compatibility level "
                f"{options.hardware_compatibility}",
                remedy="pass --hardware-compatibility ampere-and-later, or update TensorRT",
            )
        config.hardware_compatibility_level = level
    if options.timing_cache is not None:
        known = options.timing_cache.read_bytes() if options.timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
    return config


def _save_timing_cache(config: Any, options: EngineOptions) -> None:
    if options.timing_cache is None:
        return
    try:
        write_atomic(options.timing_cache, bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        raise SinkError(
            f"cannot write {options.timing_cache}: {error}",
            remedy="free space or correct the permissions",
        ) from error


def _refuse_cpu_graph(model: bytes) -> None:
    import onnx

    graph = onnx.load_model_from_string(model).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    wrong = (onnx.TensorProto.INT32, onnx.TensorProto.UINT8)
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            kinds = {stored.get(name) for name in (node.input[0], *node.input[2:])}
            if kinds & set(wrong):
                raise BackendError(
                    f"this int8 graph was made for ONNX Runtime on CPUs (node {node.name}); "
                    "TensorRT takes signed, symmetric int8 without quantised biases only",
                    remedy="export with --precision int8 --int8-target tensorrt",
                )


def _parse_error(parser: Any, options: EngineOptions, log: Log) -> ArgumentError:
    texts = []
    for index in range(min(3, parser.num_errors)):
        error = parser.get_error(index)
        name, operator = error.node_name(), error.node_operator()
        detail = str(error.desc()).strip().splitlines() or ["no reason given"]
        layer = name.rpartition("/")[0] or "frame graph"
        texts.append(f"node {name} ({operator}) of layer {layer}: {' '.join(detail[:2])[:300]}")
    return ArgumentError(
        f"{options.flavour} cannot take the graph: " + "; ".join(texts or [log.first_error()]),
        remedy="replace that operation in the network, or run the bundle with ONNX Runtime",
    )


def _build_error(options: EngineOptions, log: Log) -> BackendError:
    if log.mentions_memory():
        limit = f" of {options.workspace_mib} MiB" if options.workspace_mib else ""
        return BackendError(
            f"{options.flavour} has too little memory to build the engine: {log.first_error()}",
            remedy=f"raise the workspace{limit} (--workspace), free GPU memory, or build for "
            "smaller frames or a smaller batch",
        )
    return BackendError(
        f"{options.flavour} could not build the engine: {log.first_error()}",
        remedy="run the bundle with ONNX Runtime, and report this",
    )


def _given(options: EngineOptions) -> dict[str, object]:
    """Build options under their keys in the sidecar's JSON."""
    return {
        "workspace_mib": options.workspace_mib,
        "level": options.optimization_level,
        "strip": options.strip_weights,
        "refit": options.refit,
        "timing_cache": options.timing_cache is not None,
        "tf32": options.tf32,
    }
