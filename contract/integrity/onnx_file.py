"""What an ONNX file says about itself, read from its bytes without the ``onnx`` package.

    facts = read_onnx(Path("model.onnx").read_bytes())
    facts.metadata["trocar_manifest"], facts.precision, facts.outputs

An ONNX file is a Protocol Buffers message. A reader of its few fields that matter here is short,
and the C++ runtime (``onnx_file.cpp``) has the same one, so that both judge the same files alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

QUANTISED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
    }
)
"""Operators that a quantised graph has."""

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
          11: "float64", 16: "bfloat16"}  # fmt: skip
"""NumPy's name of an ONNX element type."""

_FLOAT16, _BFLOAT16 = 10, 16
_MAX_DEPTH = 32
"""Levels of graphs inside graphs."""

_METADATA = 14
"""Number of the field ``metadata_props`` of a ``ModelProto``."""


@dataclass(frozen=True, kw_only=True)
class OnnxFacts:
    """What an ONNX file says about itself.

    Attributes:
        metadata: Text by key; of equal keys the last one counts, as in ONNX Runtime.
        inputs: Names of the graph's inputs that have no default.
        outputs: dtype by name of the graph's outputs; an empty dtype is not stated.
        precision: Precision of the arithmetic: ``int8`` with an operator of `QUANTISED`; else
            ``fp16`` or ``bf16`` with a constant of two or more dimensions of that type; else
            ``fp32``.
        has_external_data: Whether a constant lies in another file.
    """

    metadata: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    precision: str
    has_external_data: bool


def read_onnx(data: bytes) -> OnnxFacts | None:
    """Reads an ONNX file; ``None`` if the bytes are none, or have no graph."""
    scan = _Scan()
    try:
        return scan.facts(data)
    except (ValueError, IndexError, RecursionError):
        return None


def with_metadata(data: bytes, entries: Mapping[str, str]) -> bytes:
    """The ONNX file with these texts in its metadata, in place of others of the same keys.

    Raises:
        ValueError: The bytes are no ONNX file.
    """
    kept, last = bytearray(), 0
    view = memoryview(data)
    for number, start, end, value in _ranges(view):
        if number == _METADATA and isinstance(value, memoryview) and _entry(value)[0] in entries:
            kept += view[last:start]
            last = end
    kept += view[last:]
    for key, text in entries.items():
        body = _text(1, key) + _text(2, text)
        kept += _varint(_METADATA << 3 | 2) + _varint(len(body)) + body
    return bytes(kept)


_Value = int | memoryview


def _ranges(data: memoryview) -> Iterator[tuple[int, int, int, _Value]]:
    """Number, first byte, end and value of each field of a message.

    Raises:
        ValueError: It is cut off, or is no message.
    """
    at, size = 0, len(data)
    while at < size:
        start = at
        key, at = _read_varint(data, at)
        number, kind = key >> 3, key & 7
        value: _Value = 0
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind == 2:
            length, at = _read_varint(data, at)
            value = data[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("unknown kind of field")
        if number == 0 or at > size:
            raise ValueError("the message is cut off")
        yield number, start, at, value


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, _, _, value in _ranges(data):
        if number == wanted and isinstance(value, memoryview):
            yield value


@dataclass
class _Scan:
    """Collects the facts of a graph and of the graphs inside it."""

    is_quantised: bool = False
    has_external_data: bool = False
    types: set[int] = field(default_factory=set)

    def facts(self, data: bytes) -> OnnxFacts | None:
        metadata: dict[str, str] = {}
        inputs: list[str] = []
        outputs: dict[str, str] = {}
        defaults: set[str] = set()
        has_graph = False
        for number, _, _, value in _ranges(memoryview(data)):
            if not isinstance(value, memoryview):
                continue
            if number == _METADATA:
                key, text = _entry(value)
                metadata[key] = text
            elif number == 7:
                has_graph = True
                self._graph(value, 0)
                inputs += [_name(info, 1) for info in _messages(value, 11)]
                outputs |= {_name(info, 1): _dtype(info) for info in _messages(value, 12)}
                defaults |= {_name(tensor, 8) for tensor in _messages(value, 5)}
            elif number == 25:
                for node in _messages(value, 7):
                    self._node(node, 0)
        if not has_graph:
            return None
        precision = "fp32"
        if self.is_quantised:
            precision = "int8"
        elif _FLOAT16 in self.types:
            precision = "fp16"
        elif _BFLOAT16 in self.types:
            precision = "bf16"
        return OnnxFacts(
            metadata=metadata,
            inputs=tuple(name for name in inputs if name not in defaults),
            outputs=outputs,
            precision=precision,
            has_external_data=self.has_external_data,
        )

    def _graph(self, data: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("graphs are nested too deeply")
        for number, _, _, value in _ranges(data):
            if not isinstance(value, memoryview):
                continue
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                self._tensor(value)
            elif number == 15:
                self._sparse(value)

    def _node(self, data: memoryview, depth: int) -> None:
        for number, _, _, value in _ranges(data):
            if number == 4 and isinstance(value, memoryview):
                self.is_quantised |= bytes(value).decode("utf-8", "surrogateescape") in QUANTISED
            elif number == 5 and isinstance(value, memoryview):
                self._attribute(value, depth)

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, _, _, value in _ranges(data):
            if not isinstance(value, memoryview):
                continue
            if number in (5, 10):
                self._tensor(value)
            elif number in (6, 11):
                self._graph(value, depth + 1)
            elif number in (22, 23):
                self._sparse(value)

    def _sparse(self, data: memoryview) -> None:
        for number, _, _, value in _ranges(data):
            if number in (1, 2) and isinstance(value, memoryview):
                self._tensor(value)

    def _tensor(self, data: memoryview) -> None:
        rank, kind = 0, 0
        for number, _, _, value in _ranges(data):
            if number == 1:
                rank += _count_varints(value) if isinstance(value, memoryview) else 1
            elif number == 2 and isinstance(value, int):
                kind = value
            elif number == 13 or (number == 14 and value == 1):
                self.has_external_data = True
        if rank > 1:
            self.types.add(kind)


def _entry(data: memoryview) -> tuple[str, str]:
    key = text = ""
    for number, _, _, value in _ranges(data):
        if isinstance(value, memoryview):
            if number == 1:
                key = bytes(value).decode("utf-8", "surrogateescape")
            elif number == 2:
                text = bytes(value).decode("utf-8", "surrogateescape")
    return key, text


def _name(data: memoryview, wanted: int) -> str:
    name = ""
    for value in _messages(data, wanted):
        name = bytes(value).decode("utf-8", "surrogateescape")
    return name


def _dtype(info: memoryview) -> str:
    """Dtype of a ``ValueInfoProto``; empty if it states none."""
    kind = 0
    for kind_of_value in _messages(info, 2):
        for tensor in _messages(kind_of_value, 1):
            for number, _, _, value in _ranges(tensor):
                if number == 1 and isinstance(value, int):
                    kind = value
    return DTYPES.get(kind, "other") if kind else ""


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number is too long")


def _count_varints(data: memoryview) -> int:
    return sum(byte < 0x80 for byte in data)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(number: int, text: str) -> bytes:
    data = text.encode("utf-8")
    return _varint(number << 3 | 2) + _varint(len(data)) + data
