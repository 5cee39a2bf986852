"""Converts a float32 graph to float16 or int8, written into the ONNX file itself.

    options = ConversionOptions(precision="int8", calibration=frames)
    conversion = convert(data, options=options, evaluate_candidate=evaluate_candidate)
    conversion.data, conversion.about["float32_layers"]

Because the precision is in the file, ONNX Runtime, TensorRT 10 and TensorRT 11 use the same one.
Layers whose conversion costs too much are found by measuring. They stay float32 and are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from trocar.contract.errors import ArgumentError, DataError, ParityError
from trocar.export.graph.body import (
    HEAVY,
    class_dependent_nodes,
    layer_groups,
    layer_macs,
    network_body,
)
from trocar.export.parity.types import Frame, Json, ParityReport, failure_text
from trocar.export.precision.float16 import SAFE_PEAK, activation_peaks, convert_to_float16
from trocar.export.precision.int8 import INT8_TARGETS, activation_ranges, convert_to_int8

if TYPE_CHECKING:
    from onnx import ModelProto

EvaluateCandidate: TypeAlias = Callable[[bytes], ParityReport]
"""Runs the parity gate on the bytes of a candidate."""

OnProgress: TypeAlias = Callable[[str, int, int], None]

Build: TypeAlias = Callable[[Collection[str]], bytes]
"""From the names of nodes that stay float32 to the converted file."""

PROBE_FRAMES = 4


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """What to convert to.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        int8_target: What runs an int8 model, one of `INT8_TARGETS`.
        calibration: Frames on which int8 measures the ranges of activations.
        probes: Frames on which float16 measures the largest activations.
        keep_float32: Layers that stay float32: node names, or prefixes that end with ``/`` or
            ``.``.
    """

    precision: str
    int8_target: str = "cpu"
    calibration: Sequence[Frame] = ()
    probes: Sequence[Frame] = ()
    keep_float32: Sequence[str] = ()


@dataclass(frozen=True)
class Conversion:
    """A converted file.

    Attributes:
        data: The ONNX file.
        about: What was converted and what stayed float32; JSON, ``conversion`` in ``parity.json``.
    """

    data: bytes
    about: Json = field(default_factory=dict)


def convert(
    data: bytes,
    *,
    options: ConversionOptions,
    evaluate_candidate: EvaluateCandidate,
    on_progress: OnProgress | None = None,
) -> Conversion:
    """Converts a float32 model; layers stay float32 until the gate passes.

    Args:
        data: A float32 frame-in graph.
        options: Precision and frames.
        evaluate_candidate: The gate.
        on_progress: For a progress bar.

    Raises:
        DataError: int8 without calibration frames.
        ParityError: No layer can be converted within the limits.
        ArgumentError: Unknown target or precision, or a ``keep_float32`` that names no layer.
    """
    if options.precision == "fp32":
        return Conversion(data)
    import onnx

    model = onnx.load_model_from_string(data)
    names = _body_names(model)
    fixed = _matching(options.keep_float32, names) | (class_dependent_nodes(model) & set(names))
    about: Json = {"precision": options.precision, "kept_by_flag": sorted(fixed)}
    if options.precision == "fp16":
        peaks = activation_peaks(data, options.probes[:PROBE_FRAMES])
        large = {name: peak for name, peak in peaks.items() if not peak <= SAFE_PEAK}
        about["large_activations"] = large
        fixed |= set(large)
        build = _float16_builder(data)
    elif options.precision == "int8" and options.int8_target in INT8_TARGETS:
        build = _int8_builder(data, options, on_progress)
        about.update(recipe=options.int8_target, calibration_frames=len(options.calibration))
    else:
        raise ArgumentError(
            f"there is no conversion to {options.precision} for {options.int8_target!r}",
            remedy=f"choose fp16, or int8 for one of {', '.join(INT8_TARGETS)}",
        )
    groups, macs = layer_groups(model), layer_macs(model)
    cost = [sum(macs.get(name, 0) for name in group) for group in groups]
    search = _Search(build, evaluate_candidate, groups, cost, fixed)
    converted, left_out, sensitivity = search.run(on_progress)
    heavy = [node.name for node in network_body(model) if node.op_type in HEAVY]
    float32 = fixed | left_out
    about.update(
        layers=len(heavy),
        float32_layers=[name for name in heavy if name in float32],
        left_out_by_measuring=sorted(left_out),
        **sensitivity,
    )
    return Conversion(converted, about)


def _body_names(model: ModelProto) -> list[str]:
    names = [node.name for node in network_body(model)]
    if len(set(names)) != len(names) or "" in names:
        raise ArgumentError(
            "the graph has nodes without a name, or with equal names; a conversion needs unique "
            "names",
            remedy="make the bundle with `trocar import-onnx`, which names the nodes",
        )
    return names


def _float16_builder(data: bytes) -> Build:
    return lambda float32: convert_to_float16(data, keep_float32=float32)[0]


def _int8_builder(data: bytes, options: ConversionOptions, on_progress: OnProgress | None) -> Build:
    if not len(options.calibration):
        raise DataError(
            "int8 needs frames to calibrate on and got none",
            remedy="pass --calibrate DIR with a few dozen frames of your own",
        )

    def on_frame(done: int, total: int) -> None:
        if on_progress:
            on_progress("calibrate", done, total)

    ranges = activation_ranges(data, options.calibration, on_progress=on_frame)
    return lambda float32: convert_to_int8(
        data, ranges, target=options.int8_target, keep_float32=float32
    )


@dataclass(frozen=True)
class _Search:
    """Finds the groups of layers that must stay float32, with as little work in them as possible.

    Attributes:
        build: Converts, except the named nodes.
        evaluate: The gate.
        groups: Groups of neighbouring layers.
        macs: Multiply-accumulates of each group.
        fixed: Nodes that stay float32 in any case.
    """

    build: Build
    evaluate: EvaluateCandidate
    groups: Sequence[Sequence[str]]
    macs: Sequence[int]
    fixed: set[str]

    def run(self, on_progress: OnProgress | None) -> tuple[bytes, set[str], Json]:
        """Leaves out first the groups that change the logits most for the work they do.

        When the gate passes, each group that was left out is converted once more, the largest
        first, and stays converted if the gate still passes.

        Returns:
            The converted file, the nodes left out by measuring, and the measurements.
        """
        full = self.build(self.fixed)
        report = self.evaluate(full)
        if report.passed:
            return full, set(), {}
        everything = {name for group in self.groups for name in group}
        if not self.evaluate(self.build(everything)).passed:
            # Float32 fails as well, so the frames or the graph are at fault and not the precision.
            # The caller evaluates the full conversion and reports that.
            return full, set(), {}
        differences = list(self._differences(everything, on_progress))
        order = sorted(
            range(len(self.groups)),
            key=lambda i: differences[i] / max(1, self.macs[i]),
            reverse=True,
        )
        for count in _counts(len(order)):
            out = order[:count]
            candidate = self._passing(out)
            if candidate is None:
                continue
            candidate, out = self._convert_again(candidate, out)
            names = {name for index in out for name in self.groups[index]}
            rows = [
                {"layers": list(group), "mean_logit_difference": difference, "work": macs}
                for group, difference, macs in zip(self.groups, differences, self.macs, strict=True)
            ]
            why = [failure.text for failure in report.failures]
            return candidate, names, {"sensitivity": rows, "why": why}
        raise ParityError(
            f"no part of the network can be {report.precision} within the limits: "
            + failure_text(report.failures),
            remedy="export in a higher precision, calibrate on more frames, or set the limits by "
            "flag",
        )

    def _differences(self, everything: set[str], on_progress: OnProgress | None) -> Iterator[float]:
        """Mean logit difference when one group alone is converted."""
        for index, group in enumerate(self.groups):
            if on_progress:
                on_progress("sensitivity", index, len(self.groups))
            alone = self.evaluate(self.build((everything - set(group)) | self.fixed))
            difference = _difference(alone)
            yield difference if difference == difference else float("inf")
        if on_progress:
            on_progress("sensitivity", len(self.groups), len(self.groups))

    def _convert_again(self, candidate: bytes, out: list[int]) -> tuple[bytes, list[int]]:
        for index in sorted(out, key=lambda i: self.macs[i], reverse=True):
            fewer = [other for other in out if other != index]
            better = self._passing(fewer) if fewer else None
            if better is not None:
                candidate, out = better, fewer
        return candidate, out

    def _passing(self, out: Sequence[int]) -> bytes | None:
        """The file with these groups left out, if it passes the gate."""
        candidate = self.build(self.fixed.union(*(self.groups[index] for index in out)))
        return candidate if self.evaluate(candidate).passed else None


def _difference(report: ParityReport) -> float:
    """Mean difference of the logits; of instance models, what masks and scores lose together."""
    metrics = report.metrics
    if "mean_mask_iou" not in metrics:
        return metrics["mean_logit_difference"]
    lost = metrics["missed_instances"] + metrics["added_instances"] + metrics["class_changes"]
    return lost + 1 - metrics["mean_mask_iou"] + metrics["max_score_difference"]


def _counts(groups: int) -> list[int]:
    """How many groups to leave out, in the order of trying; at least one stays converted."""
    counts, count = [], 1
    while count < groups:
        counts.append(count)
        count += max(1, count // 2)
    return counts


def _matching(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """Names that equal a pattern, or begin with one that ends with ``/`` or ``.``."""
    matches: set[str] = set()
    for pattern in patterns:
        found = {
            name
            for name in names
            if name == pattern or (pattern[-1:] in "/." and name.startswith(pattern))
        }
        if not found:
            raise ArgumentError(
                f"there is no layer {pattern!r} to keep in float32",
                remedy=f"layers are called like {', '.join(names[:3])}; end a prefix with . or /",
            )
        matches |= found
    return matches
