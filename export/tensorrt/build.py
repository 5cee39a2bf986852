"""TensorRT and TensorRT for RTX engines from a bundle's graph: one way for both, and for 10 and 11.

    built = build_engine(model, options, precision="fp16")
    built.data, built.sidecar

Networks are strongly typed: the engine computes in what the graph says, and that is read back and
compared with what was asked. TensorRT for RTX builds without a GPU; TensorRT needs the GPU that it
builds for.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.contract.engines import FLAVOURS, EngineSidecar, Profile
from trocar.contract.errors import (
    ArgumentError,
    BackendError,
    ConfigError,
    MissingExtraError,
    SinkError,
)
from trocar.contract.gpu import Gpu, find_gpu
from trocar.export.tensorrt.inspector import engine_precision, network_layers, precision_of
from trocar.export.tensorrt.progress import Log, run_build

_MODULES = {"tensorrt": ("tensorrt", "gpu"), "tensorrt-rtx": ("tensorrt_rtx", "rtx")}
HARDWARE_LEVELS = {
    "same-capability": "SAME_COMPUTE_CAPABILITY",
    "ampere-and-later": "AMPERE_PLUS",
}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How to build one engine.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        profile: Shapes that it takes.
        workspace_mib: Largest scratch memory of one layer in MiB; ``None`` for the library's own.
        level: Optimisation level 0..5; ``None`` for the library's own.
        hardware: ``this-gpu``, ``same-capability`` or ``ampere-and-later`` (TensorRT only).
        version_compatible: Let later versions of the same major load it (TensorRT only).
        strip: Leave the weights out; they are refitted from ``model.onnx`` on loading.
        refit: Let weights be replaced.
        timing_cache: File of measured tactics, read and written (TensorRT only).
    """

    flavour: str
    profile: Profile
    workspace_mib: int | None = None
    level: int | None = None
    hardware: str = "this-gpu"
    version_compatible: bool = False
    strip: bool = False
    refit: bool = False
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.flavour not in FLAVOURS:
            faults.append(f"engine is {self.flavour!r}, expected one of {', '.join(FLAVOURS)}")
        if self.level is not None and not 0 <= self.level <= 5:
            faults.append(f"optimisation level is {self.level}, expected 0..5")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            faults.append(f"workspace is {self.workspace_mib} MiB, expected 1 or more")
        if self.flavour == "tensorrt-rtx":
            # Its engines are portable among RTX GPUs; its timing caches do nothing.
            given = {
                "a timing cache": self.timing_cache is not None,
                "version compatibility": self.version_compatible,
                "a hardware compatibility level": self.hardware != "this-gpu",
            }
            faults += [f"TensorRT for RTX offers no {name[2:] if name[:2] == 'a ' else name}"
                       for name, asked in given.items() if asked]  # fmt: skip
        if faults:
            raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")


@dataclass(frozen=True)
class BuiltEngine:
    """A plain serialized engine and what it is."""

    data: bytes
    sidecar: EngineSidecar


def check_engine(options: EngineOptions) -> tuple[ModuleType, Gpu | None]:
    """Raises at once what would make a build impossible here.

    Returns:
        The library, and this machine's GPU where it has one.

    Raises:
        BackendError: TensorRT without a GPU; weights to strip without one.
        MissingExtraError: The library is not installed.
    """
    gpu = find_gpu()
    if options.flavour == "tensorrt" and gpu is None:
        raise BackendError(
            "tensorrt builds engines on the NVIDIA GPU they are for, and there is none here",
            remedy="run this on the machine with that GPU, or ask for --engine tensorrt-rtx, which "
            "builds without one",
        )
    if (options.strip or options.refit) and gpu is None:
        raise BackendError(
            f"{options.flavour} cannot make refittable engines without an NVIDIA GPU",
            remedy="leave --strip-weights and --refit away, or build on a machine with a GPU",
        )
    module, extra = _MODULES[options.flavour]
    try:
        import importlib

        return importlib.import_module(module), gpu
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--engine {options.flavour} needs the Python package {module!r}, which is not "
            "installed",
            remedy=f"pip install 'trocar[{extra}]'",
        ) from error


def build_engine(
    model: bytes,
    options: EngineOptions,
    *,
    precision: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> BuiltEngine:
    """Builds one engine.

    Args:
        model: The bundle's ``model.onnx``.
        options: Flavour, shapes and the rest.
        precision: What the graph is said to be.
        progress: Called from the library's own progress monitor.

    Raises:
        BackendError: No GPU, too little memory, or a network that the library cannot build.
        ArgumentError: An operator that it does not know; named with its layer.
        KeyboardInterrupt: Ctrl-C; the build has ended when this is raised.
    """
    trt, gpu = check_engine(options)
    _refuse_cpu_recipe(model)
    log = Log(trt)
    builder = trt.Builder(log.sink)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log.sink)
    if not parser.parse(model):
        raise _parse_error(parser, options, log)
    layers = network_layers(trt, network)
    found = precision_of(layers)
    if found != precision:
        raise BackendError(
            f"{options.flavour} reads the graph as {found} ({layers}), expected {precision}",
            remedy="export the bundle again with that precision",
        )
    config = _configure(trt, builder, network, options)
    plan = run_build(trt, builder, network, config, progress)
    if plan is None:
        raise _build_error(options, log)
    data = bytes(plan)
    _save_timing_cache(config, options)
    source = "network"
    if gpu is not None:
        seen = engine_precision(trt, log.sink, data)
        if seen is not None:
            source = "engine"
            if precision != "fp32" and seen == "fp32":
                raise BackendError(
                    f"{options.flavour} built an fp32 engine from a {precision} graph",
                    remedy="report this with the versions that `trocar doctor` prints",
                )
    portable = "any-rtx" if options.flavour == "tensorrt-rtx" else options.hardware
    sidecar = EngineSidecar(
        flavour=options.flavour,
        version=str(trt.__version__),
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        engine_sha256=hashlib.sha256(data).hexdigest(),
        precision=precision,
        precision_found=found,
        precision_source=source,
        layers=layers,
        profile=options.profile,
        gpu=gpu.name if gpu else "",
        capability=gpu.capability if gpu else "",
        hardware=portable,
        version_compatible=options.version_compatible,
        stripped=options.strip,
        refittable=options.refit or options.strip,
        platform=this_platform(),
        options=_given(options),
        proof="not run yet",
    )
    return BuiltEngine(data, sidecar)


def this_platform() -> str:
    """e.g. ``linux-x86_64``; a serialized engine belongs to one."""
    return f"{platform.system().lower()}-{platform.machine().lower()}"


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
            remedy="give --frame and --batch as minimum:best:maximum, each no less than the last",
        )
    # The inspector tells tensor formats only of engines built like this.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.strip:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if options.refit or options.strip:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.hardware != "this-gpu":
        level = getattr(trt.HardwareCompatibilityLevel, HARDWARE_LEVELS[options.hardware], None)
        if level is None:
            raise BackendError(
                f"TensorRT {trt.__version__} knows no compatibility {options.hardware}",
                remedy="use --hardware ampere-and-later, or a later TensorRT",
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
            f"cannot write {options.timing_cache}: {error}", remedy="free space or mend permissions"
        ) from error


def _refuse_cpu_recipe(model: bytes) -> None:
    import onnx

    graph = onnx.load_model_from_string(model).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    wrong = (onnx.TensorProto.INT32, onnx.TensorProto.UINT8)
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            held = {stored.get(name) for name in (node.input[0], *node.input[2:])}
            if held & set(wrong):
                raise BackendError(
                    f"this int8 graph was made for ONNX Runtime on CPUs (node {node.name}); "
                    "TensorRT takes signed, symmetric int8 without quantised biases only",
                    remedy="export with --precision int8 --recipe tensorrt",
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
        f"{options.flavour} cannot take the graph: " + "; ".join(texts or [log.last()]),
        remedy="replace that operation in the network, or run the bundle with ONNX Runtime",
    )


def _build_error(options: EngineOptions, log: Log) -> BackendError:
    if log.tells_of_memory():
        limit = f" of {options.workspace_mib} MiB" if options.workspace_mib else ""
        return BackendError(
            f"{options.flavour} has too little memory to build the engine: {log.last()}",
            remedy=f"raise the workspace{limit} (--workspace), free GPU memory, or build for "
            "smaller frames or a smaller batch",
        )
    return BackendError(
        f"{options.flavour} could not build the engine: {log.last()}",
        remedy="run the bundle with ONNX Runtime, and report this",
    )


def _given(options: EngineOptions) -> dict[str, Any]:
    plain = asdict(replace(options, timing_cache=None))
    for name in ("flavour", "profile", "timing_cache", "hardware", "version_compatible"):
        plain.pop(name)
    return {**plain, "timing_cache": options.timing_cache is not None}
