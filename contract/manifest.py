"""The manifest of a deployable model: its task, input, outputs, classes, precision and files.

    manifest = Manifest.from_json(text)
    manifest.input.height, manifest.classes.names, manifest.precision

The JSON document is stored twice: as ``manifest.json`` of a bundle, with the SHA-256 of every file,
and without the hashes in the metadata of ``model.onnx`` under `METADATA_KEY`, so that the bare file
can be run too. The copy's own hash stands beside it; see `trocar.contract.integrity.guard`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trocar.contract.classes import MAX_CLASSES, ClassTable
from trocar.contract.errors import BundleError, ConfigError, DataError, VersionError
from trocar.contract.location import LEGACY, LocationOptions
from trocar.contract.text.strict_json import parse_json

SCHEMA_VERSION = (1, 0)
"""Major, minor. An unknown major is refused; unknown fields of a newer minor are ignored."""

METADATA_KEY = "trocar_manifest"

HASH_KEY = "trocar_manifest_sha256"
"""Key of the copy's hash, see `trocar.contract.integrity.manifest_hash.guarded_sha256`."""

TASKS = ("segmentation", "classification", "instances")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")

NV12_MODEL = "nv12.onnx"
"""The file of a bundle that holds the graph for NV12 frames."""

NV12_GOLDEN = "nv12.npz"
"""The file of a bundle that holds the golden frame of that graph."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_NETWORK_SIDE = 8192

_REMEDY = "copy the bundle again from where it was made; if it was edited, export it again"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The graph's input: frames as they were decoded, uint8 ``[N, H, W, 3]`` RGB, any H and W.

    Attributes:
        name: Name of the ONNX input.
        height: Height in pixels that the graph resizes to before the network, 1..8192.
        width: Width likewise.
        mean: Mean per channel of pixel values scaled to 0..1; the graph subtracts it.
        std: Standard deviation per channel, of the same values; the graph divides by it.
    """

    name: str = "frame"
    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output of the graph.

    Attributes:
        name: Name of the ONNX output: ``labels``, ``confidence``, ``scores`` or ``embedding``; of
            an instance model ``instances``, ``labels``, ``classes``, ``scores``, ``boxes`` and
            ``count``.
        dtype: NumPy dtype name.
        shape: Dimensions; text for dynamic ones, e.g. ``("batch", 512, 640)``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def _json(*types: type, required: bool = True) -> dict[str, Any]:
    """Field metadata: the types that the JSON member may have, and whether it must be there."""
    return {"json": types, "required": required}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``manifest.json``.

    Attributes:
        name: Name of the model, for display.
        task: ``segmentation``, ``classification`` or ``instances``.
        method: Name of the training method, e.g. ``supervised``.
        classes: The class table, names and colours included.
        input: The graph's input.
        outputs: The graph's outputs; empty before export.
        precision: Precision written into the graph: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        golden_margin: Logit margin between the best two classes. Pixels (or images) of the golden
            frame above it must be equal in every runtime. Twice the allowed logit difference.
        source: Provenance: checkpoint hash, recipe, steps, versions. Free-form JSON object.
        extra: Data of the method for run time, e.g. thresholds. Free-form JSON object.
        files: SHA-256 of every other file of the bundle, by relative name with ``/``.
        location: What counts as an instrument; ``None`` for classifiers, and for a bundle that
            does not state it.
        schema: ``"major.minor"``.
    """

    name: str = field(metadata=_json(str))
    task: str = field(metadata=_json(str))
    method: str = field(metadata=_json(str))
    classes: ClassTable = field(metadata=_json(list))
    input: InputSpec = field(metadata=_json(dict))
    outputs: tuple[OutputSpec, ...] = field(default=(), metadata=_json(list))
    precision: str = field(default="fp32", metadata=_json(str))
    golden_margin: float = field(default=0.0, metadata=_json(int, float))
    source: Mapping[str, Any] = field(default_factory=dict, metadata=_json(dict, required=False))
    extra: Mapping[str, Any] = field(default_factory=dict, metadata=_json(dict, required=False))
    files: Mapping[str, str] = field(default_factory=dict, metadata=_json(dict, required=False))
    location: LocationOptions | None = field(default=None, metadata=_json(dict, required=False))
    schema: str = f"{SCHEMA_VERSION[0]}.{SCHEMA_VERSION[1]}"

    def to_dict(self) -> dict[str, Any]:
        """The manifest as data that `json` can write."""
        data = {**asdict(self), "classes": self.classes.to_dicts()}
        if self.location is None:
            del data["location"]
        else:
            data["location"] = self.location.to_dict()
        return data

    @property
    def makes_labels(self) -> bool:
        """Whether the graph returns label maps, in which instruments are located."""
        return self.task != "classification"

    @property
    def takes_nv12(self) -> bool:
        """Whether the bundle has a graph for NV12 frames beside the one for RGB."""
        return NV12_MODEL in self.files

    @property
    def location_options(self) -> LocationOptions:
        """``location``, or what version 0.1 did if it is ``None``."""
        return LEGACY if self.location is None else self.location

    def to_json(self) -> str:
        """The text of ``manifest.json``; keys in a fixed order.

        Raises:
            BundleError: ``source`` or ``extra`` contains a value that `from_json` refuses.
        """
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"
        try:
            parse_json(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"the manifest of {self.name} cannot be written: {error}",
                remedy="store such a value as text in source or extra",
            ) from error
        return text

    def without_files(self) -> Manifest:
        """The copy for ``model.onnx``, without hashes: a file cannot contain its own hash."""
        return replace(self, files={})

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "manifest") -> Manifest:
        """Reads and checks a manifest.

        Args:
            text: JSON, UTF-8.
            source: Name used in error messages.

        Raises:
            VersionError: The major schema version is not this release's.
            BundleError: It is not JSON, or fields are missing or have a wrong type or range.
        """
        try:
            data = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{source} is not JSON: {error}", remedy=_REMEDY) from error
        if not isinstance(data, dict):
            raise BundleError(f"{source} is not a JSON object", remedy=_REMEDY)
        check_schema(data.get("schema"), source=source)
        faults = _faults(data)
        if faults:
            raise BundleError(f"{source} is malformed: " + "; ".join(faults), remedy=_REMEDY)
        try:
            classes = ClassTable.from_dicts(data["classes"])
        except DataError as error:
            raise BundleError(f"{source}: {error.message}", remedy=error.remedy) from error
        spec = data["input"]
        return cls(
            name=data["name"],
            task=data["task"],
            method=data["method"],
            classes=classes,
            input=InputSpec(
                name=spec["name"],
                height=spec["height"],
                width=spec["width"],
                mean=_triple(spec["mean"]),
                std=_triple(spec["std"]),
            ),
            outputs=tuple(
                OutputSpec(name=o["name"], dtype=o["dtype"], shape=tuple(o["shape"]))
                for o in data["outputs"]
            ),
            precision=data["precision"],
            golden_margin=float(data["golden_margin"]),
            source=data.get("source", {}),
            extra=data.get("extra", {}),
            files=data.get("files", {}),
            location=LocationOptions.from_dict(data["location"]) if "location" in data else None,
            schema=data["schema"],
        )


def check_schema(value: object, *, source: str) -> None:
    """Refuses a schema version of another major, or text that is none.

    Raises:
        VersionError: Unknown major version, or no version at all.
    """
    text = value if isinstance(value, str) else ""
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise VersionError(
            f'{source} has no schema version: got {value!r}, expected "{SCHEMA_VERSION[0]}.x"',
            remedy="export the bundle again",
        )
    if (major.lstrip("0") or "0") != str(SCHEMA_VERSION[0]):
        raise VersionError(
            f"{source} has schema version {text}; this release reads {SCHEMA_VERSION[0]}.x",
            remedy="export it again with this release, or install the release that wrote it",
        )


def _triple(value: Any) -> tuple[float, float, float]:
    a, b, c = value
    return float(a), float(b), float(c)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _faults(data: Mapping[str, Any]) -> list[str]:
    """All faults of the JSON object; the C++ runtime refuses the same documents."""
    faults: list[str] = []
    for item in fields(Manifest):
        if "json" not in item.metadata:
            continue
        if item.name in data:
            if not isinstance(data[item.name], item.metadata["json"]):
                faults.append(f"{item.name} has the wrong type {type(data[item.name]).__name__}")
        elif item.metadata["required"]:
            faults.append(f"{item.name} is missing")
    if faults:
        return faults
    if data["task"] not in TASKS:
        faults.append(f"task is {data['task']!r}, expected one of {', '.join(TASKS)}")
    if data["precision"] not in PRECISIONS:
        faults.append(
            f"precision is {data['precision']!r}, expected one of {', '.join(PRECISIONS)}"
        )
    if not _is_number(data["golden_margin"]) or data["golden_margin"] < 0:
        faults.append("golden_margin is not a finite number of at least 0")
    faults += _input_faults(data["input"])
    for index, output in enumerate(data["outputs"]):
        if not _is_output(output):
            faults.append(f"outputs[{index}] lacks a name, dtype or shape")
    for index, row in enumerate(data["classes"]):
        if not _is_row(row):
            faults.append(f"classes[{index}] is not usable: {str(row)[:200]}")
    try:
        LocationOptions.from_dict(data.get("location", {}))
    except ConfigError as error:
        faults.append(error.message)
    for name, digest in data.get("files", {}).items():
        if not is_safe_name(name):
            faults.append(f"file name {name!r} is not inside the bundle")
        if not (
            isinstance(digest, str)
            and len(digest) == 64
            and all(c in "0123456789abcdef" for c in digest)
        ):
            faults.append(f"hash of {name!r} is not a SHA-256")
    return faults


def _input_faults(spec: Mapping[str, Any]) -> list[str]:
    faults: list[str] = []
    if not isinstance(spec.get("name"), str) or not spec["name"]:
        faults.append("input.name is not a non-empty text")
    for key in ("height", "width"):
        side = spec.get(key)
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= MAX_NETWORK_SIDE:
            faults.append(f"input.{key} is {side!r}, expected 1..{MAX_NETWORK_SIDE}")
    for key in ("mean", "std"):
        triple = spec.get(key)
        if (
            not isinstance(triple, list)
            or len(triple) != 3
            or not all(_is_number(v) for v in triple)
        ):
            faults.append(f"input.{key} is not three numbers")
        elif key == "std" and not all(v > 0 for v in triple):
            faults.append("input.std contains a value that is not above 0")
    return faults


def _is_output(output: object) -> bool:
    if not isinstance(output, dict):
        return False
    shape = output.get("shape")
    return (
        isinstance(output.get("name"), str)
        and isinstance(output.get("dtype"), str)
        and isinstance(shape, list)
        and all(isinstance(d, (int, str)) and not isinstance(d, bool) for d in shape)
    )


def _is_row(row: object) -> bool:
    """Whether a class row has the types that `ClassTable.to_dicts` writes; nothing is converted."""
    if not isinstance(row, dict):
        return False
    colour = row.get("colour", [0, 0, 0])
    return (
        _is_within(row.get("id"), MAX_CLASSES - 1)
        and isinstance(row.get("name"), str)
        and isinstance(colour, list)
        and len(colour) == 3
        and all(_is_within(value, 255) for value in colour)
        and (row.get("grey") is None or _is_within(row["grey"], 255))
        and isinstance(row.get("instrument", False), bool)
        and all(isinstance(row.get(key, ""), str) for key in ("type", "part"))
    )


def _is_within(value: object, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def is_safe_name(name: str) -> bool:
    """Whether a relative file name stays inside its bundle and has no control characters."""
    parts = name.split("/")
    return (
        bool(name)
        and "\\" not in name
        and all(c >= " " for c in name)
        and all(p not in ("", ".", "..") for p in parts)
    )
