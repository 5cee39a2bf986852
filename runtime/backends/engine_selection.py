"""Chooses the TensorRT engine of a bundle that fits this machine, or states why none fits.

    name = find_engine(bundle, flavour="tensorrt", device="cuda:0", precision=None)

An engine is never rebuilt here: only engines that were verified at export are run.
"""

from __future__ import annotations

from collections.abc import Sequence

from trocar.contract.bundle import MODEL, Bundle
from trocar.contract.errors import BackendError
from trocar.contract.tensorrt.engines import (
    EngineEnvironment,
    EngineSidecar,
    Profile,
    Shape,
    engine_fitness,
    engines_of,
    import_library,
    platform_tag,
    rebuild_command,
)
from trocar.contract.tensorrt.gpu import find_gpu
from trocar.runtime.devices import device_from_text, require_cuda


def environment_here(
    bundle: Bundle,
    *,
    flavour: str,
    device: str,
    precision: str | None = None,
    shape: Shape | None = None,
) -> EngineEnvironment:
    """What an engine of a bundle must fit: this machine and what was requested.

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
    frame_sizes: Sequence[tuple[int, int]] = (),
) -> str:
    """The name of the engine that fits.

    Of several, the one that was tuned for the frames' size; without a size, one that takes several;
    then the first in alphabetical order.

    Args:
        bundle: The bundle.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        device: The GPU.
        precision: Wanted precision; ``None`` for any.
        shape: Batch, height and width that it must take.
        frame_sizes: ``(height, width)`` of all frames that will come, as far as they are known;
            upright or turned, because a file may state its size before it is turned.

    Raises:
        BackendError: There is no GPU, no engine, or no engine that fits; states every difference
            and the command that builds one.
        MissingExtraError: The flavour's library is not installed.
    """
    wanted = device_from_text("cuda" if device == "cpu" else device)
    require_cuda(wanted)
    here = environment_here(
        bundle, flavour=flavour, device=str(wanted), precision=precision, shape=shape
    )
    engines = fitness_of(bundle, here)
    if shape is None:
        engines = {
            name: (sidecar, [*reasons, *_size_reasons(sidecar.profile, frame_sizes)])
            for name, (sidecar, reasons) in engines.items()
        }
    fitting = [name for name, (_, reasons) in engines.items() if not reasons]
    if fitting:
        return min(fitting, key=lambda name: _rank(engines[name][0].profile, frame_sizes))
    if not engines:
        raise BackendError(
            f"{bundle.path} holds no engine",
            remedy=f"trocar export {bundle.path} --engine {flavour} --engine-shape WIDTHxHEIGHT",
        )
    differences = "; ".join(
        f"{name}: {', '.join(reasons)}" for name, (_, reasons) in engines.items()
    )
    nearest, _ = min(engines.values(), key=_count_reasons)
    if shape is None and frame_sizes:
        shape = (nearest.profile.minimum[0], *frame_sizes[0])
    raise BackendError(
        f"no engine of {bundle.path} fits: {differences}",
        remedy=rebuild_command(nearest, str(bundle.path), shape=shape),
    )


def _size_reasons(profile: Profile, frame_sizes: Sequence[tuple[int, int]]) -> list[str]:
    batch = profile.minimum[0]
    return [
        f"it takes {profile}, the frames are {height}x{width}"
        for height, width in frame_sizes
        if not profile.admits((batch, height, width)) and not profile.admits((batch, width, height))
    ]


def _rank(profile: Profile, frame_sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The lower the better."""
    if not frame_sizes:
        return (int(profile.static),)
    _, height, width = profile.optimum
    # Distance of the size that it is tuned for, and whether the shape is its only one.
    distance = sum(
        min(abs(height - a) + abs(width - b) for a, b in (size, size[::-1])) for size in frame_sizes
    )
    return distance, int(not profile.static)


def _count_reasons(engine: tuple[EngineSidecar, list[str]]) -> int:
    return len(engine[1])
