"""Triton's model configuration as protobuf text.

pbtxt({"name": "finder"})     # 'name: "finder"' and a line break
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from trocar.contract.errors import ConfigError
from trocar.contract.manifest import OutputSpec

Message: TypeAlias = dict[str, object]
"""Fields of a protobuf message by name; values are texts, numbers, lists and messages."""

_TYPES = {
    "uint8": "TYPE_UINT8",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How the server runs the model.

    Attributes:
        max_batch: Largest batch that the server makes, 1 or more; an engine's own largest batch
            where an engine is served.
        delay_us: Longest time that it waits for more requests, in microseconds.
        instances: Copies of the model on each device, 1 or more.
        device: ``gpu`` or ``cpu``.
        engine: Name of an engine of the bundle (``engines/….engine``) to serve; ``None`` for the
            ONNX graph.
        threads: CPU threads of each copy; ``None`` for the server's default.
    """

    max_batch: int = 8
    delay_us: int = 2000
    instances: int = 1
    device: str = "gpu"
    engine: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value}, expected {minimum} or more"
            for name, value, minimum in (
                ("max_batch", self.max_batch, 1),
                ("delay_us", self.delay_us, 0),
                ("instances", self.instances, 1),
                ("threads", 1 if self.threads is None else self.threads, 1),
            )
            if value < minimum
        ]
        if self.device not in ("gpu", "cpu"):
            faults.append(f"device is {self.device!r}, expected gpu or cpu")
        if self.engine is not None and self.device != "gpu":
            faults.append("an engine runs on a GPU only")
        if faults:
            raise ConfigError("; ".join(faults), remedy="correct the named values")


def output_config(output: OutputSpec) -> Message:
    """The entry of one output in ``config.pbtxt``."""
    entry: Message = {
        "name": output.name,
        "data_type": EnumValue(_TYPES[output.dtype]),
        "dims": [-1 if isinstance(d, str) else d for d in output.shape[1:]],
    }
    if output.name == "scores":
        entry["label_filename"] = "labels.txt"
    return entry


class EnumValue(str):
    """An enumeration value, written without quotes."""


def pbtxt(message: Mapping[str, object], indent: int = 0) -> str:
    """Protobuf text of nested mappings; a list of mappings repeats its field."""
    pad = "  " * indent
    lines: list[str] = []
    for name, value in message.items():
        if isinstance(value, Mapping):
            lines.append(f"{pad}{name} {{\n{pbtxt(value, indent + 1)}{pad}}}\n")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if all(isinstance(item, Mapping) for item in value):
                lines += [f"{pad}{name} {{\n{pbtxt(v, indent + 1)}{pad}}}\n" for v in value]
            else:
                lines.append(f"{pad}{name}: [{', '.join(_scalar(v) for v in value)}]\n")
        else:
            lines.append(f"{pad}{name}: {_scalar(value)}\n")
    return "".join(lines)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, EnumValue)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
