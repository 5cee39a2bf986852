"""Chooses the TensorRT engine that fits this machine, or says precisely why none does.

    name = find_engine(bundle, flavour="tensorrt", device="cuda:0", precision=None)

Nothing is ever rebuilt in silence: an engine that was verified is released, not made again.
"""

from __future__ import annotations

from trocar.contract.bundle import MODEL, Bundle
from trocar.contract.engines import (
    EngineEnvironment,
    EngineSidecar,
    Shape,
    engine_fitness,
    engines_of,
    import_library,
    platform_tag,
    rebuild_command,
)
from trocar.contract.errors import BackendError
from trocar.contract.gpu import find_gpu
from trocar.runtime.devices import device_from_text, require_cuda


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
    gpu = find_gpu(device_from_text(device).index)
    return EngineEnvironment(
        flavour=flavour,
        version=str(import_library(flavour).__version__),
        onnx_sha256=bundle.manifest.files[MODEL],
        gpu=gpu.name if gpu else "",
        capability=gpu.capability if gpu else "",
        platform=platform_tag(),
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
            remedy=f"trocar export {bundle.path} --engine {flavour} --engine-shape WIDTHxHEIGHT",
        )
    told = "; ".join(f"{name}: {', '.join(reasons)}" for name, (_, reasons) in found.items())
    nearest = min(found.values(), key=lambda pair: len(pair[1]))[0]
    raise BackendError(
        f"no engine of {bundle.path} fits: {told}",
        remedy=rebuild_command(nearest, str(bundle.path), shape=shape),
    )
