"""Chooses the TensorRT engine that fits this machine, or says precisely why none does.

    name = find_engine(bundle, flavour="tensorrt", device="cuda:0", precision=None)

Nothing is ever rebuilt in silence: an engine that was verified is released, not made again.
"""

from __future__ import annotations

import ctypes
import importlib
import platform
from dataclasses import dataclass

from trocar.contract.bundle import MODEL, Bundle
from trocar.contract.engines import (
    EngineEnvironment,
    EngineSidecar,
    Shape,
    engine_fitness,
    engines_of,
    rebuild_command,
)
from trocar.contract.errors import BackendError, MissingExtraError
from trocar.runtime.devices import device_from_text, require_cuda

_MODULES = {"tensorrt": ("tensorrt", "gpu"), "tensorrt-rtx": ("tensorrt_rtx", "rtx")}
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver describes it.

    Attributes:
        name: e.g. ``NVIDIA L4``; empty without one.
        capability: e.g. ``8.9``; empty without one.
    """

    name: str = ""
    capability: str = ""


def gpu_of(index: int) -> Gpu:
    """Asks the driver about a GPU; an empty answer where there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Gpu()
    handle = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(handle), index):
        return Gpu()
    name = ctypes.create_string_buffer(128)
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, handle)
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")


def library_version(flavour: str) -> str:
    """Version of the installed library.

    Raises:
        MissingExtraError: It is not installed.
    """
    module, extra = _MODULES[flavour]
    try:
        return str(importlib.import_module(module).__version__)
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            f"backend {flavour} needs the Python package {module!r}, which cannot be imported: "
            f"{error}",
            remedy=f"pip install 'trocar[{extra}]'",
        ) from error


def environment_here(
    bundle: Bundle,
    *,
    flavour: str,
    device: str,
    precision: str | None = None,
    shape: Shape | None = None,
) -> EngineEnvironment:
    """What an engine of a bundle must fit on this machine.

    Raises:
        MissingExtraError: The flavour's library is not installed.
    """
    gpu = gpu_of(device_from_text(device).index)
    return EngineEnvironment(
        flavour=flavour,
        version=library_version(flavour),
        onnx_sha256=bundle.manifest.files[MODEL],
        gpu=gpu.name,
        capability=gpu.capability,
        platform=f"{platform.system().lower()}-{platform.machine()}",
        shape=shape,
        precision=precision,
    )


def fitness_of(
    bundle: Bundle, environment: EngineEnvironment
) -> dict[str, tuple[EngineSidecar, list[str]]]:
    """Every engine of a bundle with the reasons why it does not fit; no reasons: it fits."""
    return {
        name: (sidecar, engine_fitness(sidecar, environment))
        for name, sidecar in engines_of(bundle).items()
    }


def find_engine(
    bundle: Bundle,
    *,
    flavour: str,
    device: str,
    precision: str | None = None,
    shape: Shape | None = None,
) -> str:
    """The name of the engine that fits; the first in order of name of several.

    Raises:
        BackendError: There is no GPU, no engine, or none that fits: says what differs and which
            command builds one.
        MissingExtraError: The flavour's library is not installed.
    """
    wanted = device_from_text("cuda" if device == "cpu" else device)
    require_cuda(wanted)
    here = environment_here(
        bundle, flavour=flavour, device=str(wanted), precision=precision, shape=shape
    )
    found = fitness_of(bundle, here)
    for name, (_, reasons) in found.items():
        if not reasons:
            return name
    if not found:
        raise BackendError(
            f"{bundle.path} holds no engine",
            remedy=f"trocar export {bundle.path} --engine {flavour} --frame HEIGHTxWIDTH",
        )
    told = "; ".join(f"{name}: {', '.join(reasons)}" for name, (_, reasons) in found.items())
    nearest = min(found.values(), key=lambda pair: len(pair[1]))[0]
    raise BackendError(
        f"no engine of {bundle.path} fits: {told}",
        remedy=rebuild_command(nearest, str(bundle.path), shape=shape),
    )
