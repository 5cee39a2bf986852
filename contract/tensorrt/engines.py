"""TensorRT engines in a bundle: their JSON sidecars, and whether an engine fits a machine.

    sidecar = EngineSidecar.from_json(bundle.read("engines/rtx.json"))
    engine_fitness(sidecar, here)      # [], or every difference in words

An engine is a plain serialized TensorRT engine, ``engines/NAME.engine``. Beside it are its sidecar
``engines/NAME.json`` and a golden frame in ``engines/NAME.golden.npz``, because an engine may take
one frame size only.
"""

from __future__ import annotations

import importlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

from trocar.contract.bundle import Bundle
from trocar.contract.errors import BundleError, MissingExtraError
from trocar.contract.manifest import check_schema
from trocar.contract.text.strict_json import parse_json

FOLDER = "engines"


@dataclass(frozen=True)
class EngineLibrary:
    """The library that builds and runs engines of one flavour.

    Attributes:
        title: Name for people.
        module: Name of the Python package.
        extra: Extra of ``pip install 'trocar[…]'`` that installs it.
    """

    title: str
    module: str
    extra: str


LIBRARIES: Mapping[str, EngineLibrary] = {
    "tensorrt": EngineLibrary("TensorRT", "tensorrt", "tensorrt"),
    "tensorrt-rtx": EngineLibrary("TensorRT for RTX", "tensorrt_rtx", "rtx"),
}
"""The library of each flavour of engines."""

FLAVOURS = tuple(LIBRARIES)

HARDWARE = ("this-gpu", "same-capability", "ampere-and-later", "any-rtx")
"""GPUs that an engine runs on; ``any-rtx`` is for TensorRT for RTX only."""

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities of the GPUs that TensorRT for RTX supports."""

Shape = tuple[int, int, int]
"""Batch, height, width."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Input shapes that an engine takes.

    Attributes:
        minimum: Batch, height, width.
        optimum: What it is tuned for.
        maximum: Batch, height, width.
    """

    minimum: Shape
    optimum: Shape
    maximum: Shape

    @property
    def static(self) -> bool:
        """Whether it takes one shape only."""
        return self.minimum == self.maximum

    def admits(self, shape: Shape) -> bool:
        """Whether frames of this batch, height and width fit."""
        return all(
            low <= value <= high
            for low, value, high in zip(self.minimum, shape, self.maximum, strict=True)
        )

    def __str__(self) -> str:
        if self.static:
            return _shape_text(self.optimum)
        return f"{_shape_text(self.minimum)} to {_shape_text(self.maximum)}"


# Keys of the sidecar's JSON that differ from the names of the fields.
_JSON_KEYS = {"verified": "proven", "verification": "proof"}


@dataclass(frozen=True, kw_only=True)
class EngineSidecar:
    """What an engine is.

    Attributes:
        flavour: One of `FLAVOURS`.
        version: Version of the library that built it, e.g. ``"10.16.1.11"``.
        onnx_sha256: SHA-256 of the bundle's ``model.onnx`` that it was built from.
        engine_sha256: SHA-256 of the engine file.
        precision: Precision of the graph.
        precision_found: Precision of the layers of the engine.
        precision_source: Where ``precision_found`` was read: ``network`` (the strongly typed
            network that was built) or ``engine`` (the engine's inspector).
        layers: Number of convolutions and matrix products by precision.
        profile: Input shapes that it takes.
        gpu: Name of the GPU it was built on; empty without one.
        capability: Compute capability of that GPU, e.g. ``"8.9"``; empty without one.
        hardware: One of `HARDWARE`.
        version_compatible: Whether later versions of the same major may load it.
        stripped: Whether it has no weights: they are refitted from ``model.onnx`` on loading.
        refittable: Whether its weights can be replaced.
        platform: Result of `platform_tag` where it was built, e.g. ``linux-x86_64``.
        options: Workspace, optimisation level and other build options, as they were given.
        verified: Whether the engine itself passed the parity gate (``proven`` in JSON).
        verification: Result of the gate, or why it was not run (``proof`` in JSON).
        schema: ``"major.minor"``.
    """

    flavour: str
    version: str
    onnx_sha256: str
    engine_sha256: str
    precision: str
    precision_found: str
    precision_source: str
    layers: Mapping[str, int]
    profile: Profile
    gpu: str = ""
    capability: str = ""
    hardware: str = "this-gpu"
    version_compatible: bool = False
    stripped: bool = False
    refittable: bool = False
    platform: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    verified: bool = False
    verification: str = ""
    schema: str = "1.0"

    def to_json(self) -> str:
        """The JSON text of the sidecar."""
        data = {_JSON_KEYS.get(name, name): value for name, value in asdict(self).items()}
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "engine sidecar") -> EngineSidecar:
        """Reads and checks a sidecar; unknown fields are ignored.

        Raises:
            VersionError: Unknown major schema version.
            BundleError: It is not strict JSON (`parse_json`), or fields are missing or of the wrong
                type.
        """
        try:
            data = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{source} is not JSON: {error}", remedy=_REBUILD) from error
        if not isinstance(data, dict):
            raise BundleError(f"{source} is not a JSON object", remedy=_REBUILD)
        check_schema(data.get("schema"), source=source)
        try:
            profile = Profile(
                **{key: _shape(data["profile"][key]) for key in ("minimum", "optimum", "maximum")}
            )
            keys = {name: _JSON_KEYS.get(name, name) for name in cls.__dataclass_fields__}
            given = {n: data[k] for n, k in keys.items() if k in data and n != "profile"}
            sidecar = cls(**given, profile=profile)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{source} is malformed: {error}", remedy=_REBUILD) from error
        faults = _faults(sidecar)
        if faults:
            raise BundleError(f"{source} is malformed: {'; '.join(faults)}", remedy=_REBUILD)
        return sidecar


@dataclass(frozen=True, kw_only=True)
class EngineEnvironment:
    """What an engine must fit.

    Attributes:
        flavour: Wanted flavour.
        version: Version of the installed library.
        onnx_sha256: SHA-256 of the bundle's ``model.onnx``.
        gpu: Name of the GPU.
        capability: Its compute capability, e.g. ``"8.9"``.
        platform: Result of `platform_tag` on this machine.
        shape: Batch, height, width of the frames; ``None`` when not known yet.
        precision: Wanted precision; ``None`` for any.
    """

    flavour: str
    version: str
    onnx_sha256: str
    gpu: str
    capability: str
    platform: str
    shape: Shape | None = None
    precision: str | None = None


def engine_fitness(sidecar: EngineSidecar, environment: EngineEnvironment) -> list[str]:
    """Every reason why an engine does not fit; empty when it fits.

    The answer depends on nothing but the two arguments.
    """
    here = environment
    reasons: list[str] = []
    if sidecar.flavour != here.flavour:
        reasons.append(f"it is a {sidecar.flavour} engine, {here.flavour} was asked for")
    elif not _version_fits(sidecar, here.version):
        reasons.append(
            f"it was built by {sidecar.flavour} {sidecar.version}, here is {here.version}"
        )
    if sidecar.onnx_sha256 != here.onnx_sha256:
        reasons.append(
            f"it was built from another model.onnx ({sidecar.onnx_sha256[:12]}, the bundle's is "
            f"{here.onnx_sha256[:12]})"
        )
    if here.precision is not None and sidecar.precision_found != here.precision:
        reasons.append(f"it computes in {sidecar.precision_found}, {here.precision} was asked for")
    if sidecar.platform and here.platform != sidecar.platform:
        reasons.append(f"it was built for {sidecar.platform}, this is {here.platform}")
    reasons += _hardware_reasons(sidecar, here)
    if here.shape is not None and not sidecar.profile.admits(here.shape):
        reasons.append(f"it takes {sidecar.profile}, the frames are {_shape_text(here.shape)}")
    return reasons


def rebuild_command(sidecar: EngineSidecar, bundle: str, *, shape: Shape | None = None) -> str:
    """The command that builds such an engine again, for this machine and these frames."""
    profile = sidecar.profile
    if shape is not None and not profile.admits(shape):
        profile = Profile(minimum=shape, optimum=shape, maximum=shape)
    return f"trocar export {bundle} --engine {sidecar.flavour} {profile_flags(profile)}"


def profile_flags(profile: Profile) -> str:
    """The flags of ``trocar export`` for a profile, e.g. ``--engine-shape 1920x1080 --batch 1``."""
    shapes = (profile.minimum, profile.optimum, profile.maximum)
    sizes = [f"{width}x{height}" for _, height, width in shapes]
    batches = [str(batch) for batch, _, _ in shapes]
    size, batch = (
        values[0] if len(set(values)) == 1 else ":".join(values) for values in (sizes, batches)
    )
    return f"--engine-shape {size} --batch {batch}"


def import_library(flavour: str) -> ModuleType:
    """Imports the library of a flavour.

    Raises:
        MissingExtraError: It is not installed, or cannot be loaded.
    """
    library = LIBRARIES[flavour]
    try:
        return importlib.import_module(library.module)
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            f"{flavour} needs the Python package {library.module!r}, which cannot be imported: "
            f"{error}",
            remedy=f"pip install 'trocar[{library.extra}]'",
        ) from error


def engines_of(bundle: Bundle) -> dict[str, EngineSidecar]:
    """Sidecars of a bundle's engines by the engine's file name, e.g. ``engines/a.engine``.

    Raises:
        BundleError: A sidecar without its engine, an engine without its sidecar, a malformed
            sidecar, or one that states another hash than the manifest.
    """
    files = bundle.manifest.files
    engines = sorted(n for n in files if n.startswith(f"{FOLDER}/") and n.endswith(".engine"))
    sidecars = {}
    for name in engines:
        beside = f"{name.removesuffix('.engine')}.json"
        if beside not in files:
            raise BundleError(f"{bundle.path}: {name} has no {beside}", remedy=_REBUILD)
        sidecar = EngineSidecar.from_json(bundle.read(beside), source=str(bundle.path / beside))
        if sidecar.engine_sha256 != files[name]:
            raise BundleError(
                f"{bundle.path / beside} describes another engine than {name}", remedy=_REBUILD
            )
        sidecars[name] = sidecar
    return sidecars


def files_of_engine(name: str) -> tuple[str, str, str]:
    """Names of an engine's three files: engine, sidecar, golden frame."""
    stem = name.removesuffix(".engine")
    return f"{stem}.engine", f"{stem}.json", f"{stem}.golden.npz"


def platform_tag() -> str:
    """Operating system and architecture of this machine, as sidecars state them.

    E.g. ``linux-x86_64`` or ``windows-amd64``.
    """
    return f"{platform.system().lower()}-{platform.machine().lower()}"


def _version_fits(sidecar: EngineSidecar, version: str) -> bool:
    if sidecar.version == version:
        return True
    built, here = _numbers(sidecar.version), _numbers(version)
    return sidecar.version_compatible and built[:1] == here[:1] and here >= built


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _hardware_reasons(sidecar: EngineSidecar, here: EngineEnvironment) -> Iterable[str]:
    if not here.capability:
        yield "there is no NVIDIA GPU here"
    elif sidecar.hardware == "any-rtx":
        if here.capability not in RTX_CAPABILITIES:
            yield (
                f"it runs on compute capability {', '.join(RTX_CAPABILITIES)}, {here.gpu} has "
                f"{here.capability}"
            )
    elif sidecar.hardware == "ampere-and-later":
        if _numbers(here.capability) < (8, 0):
            yield f"it runs on compute capability 8.0 and later, {here.gpu} has {here.capability}"
    elif sidecar.capability != here.capability:
        yield (
            f"it was built on {sidecar.gpu} (compute capability {sidecar.capability}), here is "
            f"{here.gpu} ({here.capability})"
        )
    elif sidecar.hardware == "this-gpu" and sidecar.gpu != here.gpu:
        yield f"it was built on {sidecar.gpu}, here is {here.gpu}"


_REBUILD = "build the engine again with `trocar export BUNDLE --engine …`"


def _shape(value: Any) -> Shape:
    batch, height, width = value
    if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in value):
        raise ValueError(f"a shape is {value}, expected three numbers above 0")
    return batch, height, width


def _shape_text(shape: Shape) -> str:
    return f"batch {shape[0]} of {shape[1]}x{shape[2]}"


_TEXTS = (
    "flavour", "version", "onnx_sha256", "engine_sha256", "precision", "precision_found",
    "precision_source", "gpu", "capability", "hardware", "platform", "verification",
)  # fmt: skip


def _faults(sidecar: EngineSidecar) -> list[str]:
    faults = [
        f"{_JSON_KEYS.get(name, name)} is no text"
        for name in _TEXTS
        if not isinstance(getattr(sidecar, name), str)
    ]
    for name in ("version_compatible", "stripped", "refittable", "verified"):
        if not isinstance(getattr(sidecar, name), bool):
            faults.append(f"{_JSON_KEYS.get(name, name)} is not true or false")
    if sidecar.flavour not in FLAVOURS:
        faults.append(f"flavour is {sidecar.flavour!r}, expected one of {', '.join(FLAVOURS)}")
    if sidecar.hardware not in HARDWARE:
        faults.append(f"hardware is {sidecar.hardware!r}, expected one of {', '.join(HARDWARE)}")
    p = sidecar.profile
    if not (p.admits(p.optimum) and p.admits(p.minimum) and p.admits(p.maximum)):
        faults.append("the profile's optimum is not between its minimum and maximum")
    return faults
