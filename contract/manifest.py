"""The manifest of a deployable model: what it is, its input, its outputs and its golden margin.

    manifest = Manifest.from_json(text)
    manifest.input.height, manifest.classes.names, manifest.precision

The same JSON document is in two places: in ``manifest.json`` of a bundle, with the SHA-256 of every
file, and under `METADATA_KEY` of ``model.onnx``, without hashes. So ``model.onnx`` alone works too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trocar.contract.classes import MAX_CLASSES, ClassTable
from trocar.contract.errors import BundleError, DataError, VersionError

SCHEMA_VERSION = (1, 0)
"""Major, minor. An unknown major is refused; new fields of an unknown minor are ignored."""

METADATA_KEY = "trocar_manifest"

TASKS = ("segmentation", "classification")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_NETWORK_SIDE = 8192

MAX_DEPTH = 100
"""Largest depth of nesting in a manifest."""

_REMEDY = "copy the bundle again from where it was made; if it was edited, export it again"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The graph's input: frames as they were decoded, uint8 ``[N, H, W, 3]`` RGB, any H and W.

    Attributes:
        name: Name of the ONNX input.
        height: Height in pixels that the graph resizes to before the network, 1..8192.
        width: Width likewise.
        mean: Mean per channel, in units of 0..1, subtracted inside the graph.
        std: Deviation per channel, in units of 0..1, divided by inside the graph.
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
        name: Name of the ONNX output: ``labels``, ``confidence``, ``scores`` or ``embedding``.
        dtype: NumPy dtype name.
        shape: Dimensions; text for dynamic ones, e.g. ``("batch", 512, 640)``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a deployable model.

    Attributes:
        name: Model name for people.
        task: ``segmentation`` or ``classification``.
        method: Name of the training method, e.g. ``supervised``.
        classes: The class table, names and colours included.
        input: The graph's input.
        outputs: The graph's outputs; empty before the export.
        precision: Precision written into the graph: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        golden_margin: Pixels (or images) of the golden frame with a larger margin between their
            two best logits must be equal in every runtime; twice the allowed logit difference.
        source: Origin: checkpoint hash, recipe, steps, versions. Free-form JSON.
        extra: Values that one method needs at run time, e.g. thresholds. Free-form JSON.
        files: SHA-256 of every other file of the bundle, by relative name with ``/``.
        schema: ``"major.minor"``.
    """

    name: str
    task: str
    method: str
    classes: ClassTable
    input: InputSpec
    outputs: tuple[OutputSpec, ...] = ()
    precision: str = "fp32"
    golden_margin: float = 0.0
    source: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    schema: str = f"{SCHEMA_VERSION[0]}.{SCHEMA_VERSION[1]}"

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON-ready data."""
        data = {key: getattr(self, key) for key in self.__dataclass_fields__}
        data["classes"] = self.classes.to_dicts()
        data["input"] = asdict(self.input)
        data["outputs"] = [asdict(output) for output in self.outputs]
        return data

    def to_json(self) -> str:
        """The JSON text of ``manifest.json``; keys in a fixed order."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def without_files(self) -> Manifest:
        """The copy that ``model.onnx`` carries: a file cannot hold its own hash."""
        return replace(self, files={})

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "manifest") -> Manifest:
        """Reads and checks a manifest.

        Args:
            text: JSON, UTF-8.
            source: Name used in error messages.

        Raises:
            VersionError: The major schema version is not this release's.
            BundleError: It is not JSON, or fields are missing or of the wrong type or range.
        """
        try:
            data = _strict_json(text)
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
            schema=data["schema"],
        )


def check_schema(value: object, *, source: str) -> None:
    """Refuses a schema version that this release cannot read.

    Raises:
        VersionError: Unknown major version, or no version at all.
    """
    text = value if isinstance(value, str) else ""
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise VersionError(
            f'{source} states no schema version: got {value!r}, expected "{SCHEMA_VERSION[0]}.x"',
            remedy="export the bundle again",
        )
    # Compared as text: a number of many thousand digits is none that int() takes.
    if (major.lstrip("0") or "0") != str(SCHEMA_VERSION[0]):
        raise VersionError(
            f"{source} is of schema version {text}; this release reads {SCHEMA_VERSION[0]}.x",
            remedy="install the release that wrote it, or export again with this release",
        )


def _triple(value: Any) -> tuple[float, float, float]:
    a, b, c = value
    return float(a), float(b), float(c)


def _strict_json(text: str | bytes) -> Any:
    """JSON of RFC 8259 in UTF-8, without Python's extensions, as the C++ runtime reads it.

    Raises:
        ValueError: It is malformed, has NaN or half of a surrogate pair, or is nested too deeply.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    document = text.decode("utf-8") if isinstance(text, bytes) else text
    document.encode("utf-8")
    data = json.loads(document, parse_constant=refuse)
    level = [data]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                value.encode("utf-8")
            elif isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
        level = below
        if not level:
            return data
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _is_number(value: object) -> bool:
    try:
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    except OverflowError:
        return False


def _faults(data: Mapping[str, Any]) -> list[str]:
    """Every fault of the raw JSON; the C++ runtime refuses the same documents."""
    faults: list[str] = []
    for key, kind in _FIELDS.items():
        if key not in data:
            faults.append(f"{key} is missing")
        elif not isinstance(data[key], kind):
            faults.append(f"{key} has the wrong type {type(data[key]).__name__}")
    for key in ("source", "extra", "files"):
        if not isinstance(data.get(key, {}), dict):
            faults.append(f"{key} is not an object")
    if faults:
        return faults
    if data["task"] not in TASKS:
        faults.append(f"task is {data['task']!r}, expected one of {', '.join(TASKS)}")
    if data["precision"] not in PRECISIONS:
        faults.append(
            f"precision is {data['precision']!r}, expected one of {', '.join(PRECISIONS)}"
        )
    if not _is_number(data["golden_margin"]) or data["golden_margin"] < 0:
        faults.append("golden_margin is not a finite number of 0 or more")
    faults += _input_faults(data["input"])
    for index, output in enumerate(data["outputs"]):
        if not _is_output(output):
            faults.append(f"outputs[{index}] lacks a name, dtype or shape")
    for index, row in enumerate(data["classes"]):
        if not _is_row(row):
            faults.append(f"classes[{index}] is not usable: {str(row)[:200]}")
    for name, digest in data.get("files", {}).items():
        if not is_safe_name(name):
            faults.append(f"file name {name!r} leaves the bundle")
        if not (
            isinstance(digest, str)
            and len(digest) == 64
            and all(c in "0123456789abcdef" for c in digest)
        ):
            faults.append(f"hash of {name!r} is no SHA-256")
    return faults


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "task": str,
    "method": str,
    "classes": list,
    "input": dict,
    "outputs": list,
    "precision": str,
    "golden_margin": (int, float),
}


def _input_faults(spec: Mapping[str, Any]) -> list[str]:
    faults: list[str] = []
    if not isinstance(spec.get("name"), str) or not spec["name"]:
        faults.append("input.name is not a text")
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
            faults.append("input.std holds a value that is not above 0")
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
    """Whether a class row is of the types that `ClassTable.to_dicts` writes; no conversions."""
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
    """Whether a relative file name stays inside its bundle; control characters are refused too."""
    parts = name.split("/")
    return (
        bool(name)
        and "\\" not in name
        and all(c >= " " for c in name)
        and all(p not in ("", ".", "..") for p in parts)
    )
