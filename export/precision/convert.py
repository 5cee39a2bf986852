"""Converts a float32 graph to float16 or int8, written into the ONNX file itself.

    data, about = convert(data, "int8", judge=gate, calibration=frames, recipe="cpu")

Being in the file, the precision holds for ONNX Runtime and for TensorRT 10 and 11 alike. Layers
whose conversion costs too much are found by measuring, kept in float32, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from trocar.contract.errors import ArgumentError, DataError, ParityError
from trocar.export.graph.body import HEAVY, body_nodes, comparing_nodes, layer_groups, layer_work
from trocar.export.parity.types import Frame, ParityReport
from trocar.export.precision.float16 import SAFE, activation_peaks, half_from_float
from trocar.export.precision.int8 import RECIPES, activation_ranges, int8_from_float

Judge = Callable[[bytes], ParityReport]
Progress = Callable[[str, int, int], None]
Build = Callable[[Collection[str]], bytes]
"""From the names of nodes that stay float32 to the converted file."""

PROBE_FRAMES = 4


def convert(
    data: bytes,
    precision: str,
    *,
    judge: Judge,
    recipe: str = "cpu",
    calibration: Sequence[Frame] = (),
    probes: Sequence[Frame] = (),
    keep: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """Converts a float32 model, leaving out layers until the gate is content.

    Args:
        data: A float32 frame-in graph.
        precision: ``fp32``, ``fp16`` or ``int8``.
        judge: The gate; called with the bytes of a candidate.
        recipe: Of int8, one of `RECIPES`.
        calibration: Frames for int8.
        probes: Frames on which float16 measures the size of activations.
        keep: Layers that stay float32 in any case: node names, or prefixes ending with ``/``
            or ``.``.
        progress: For a progress bar.

    Returns:
        The ONNX file, and what was done, fit for JSON.

    Raises:
        DataError: int8 without calibration frames.
        ParityError: No layer at all can be converted within the limits.
        ArgumentError: Unknown recipe or precision, a ``keep`` that names no layer.
    """
    if precision == "fp32":
        return data, {}
    import onnx

    model = onnx.load_model_from_string(data)
    names = [node.name for node in body_nodes(model)]
    if len(set(names)) != len(names) or "" in names:
        raise ArgumentError(
            "nodes of the graph lack names of their own, which converting needs",
            remedy="make the bundle with `trocar bundle`, which names them",
        )
    fixed = _named(keep, names) | (comparing_nodes(model) & set(names))
    about: dict[str, Any] = {"precision": precision, "kept_by_flag": sorted(fixed)}
    build: Build
    if precision == "fp16":
        peaks = activation_peaks(data, probes[:PROBE_FRAMES])
        large = {name: peak for name, peak in peaks.items() if not peak <= SAFE}
        about["large_activations"] = large
        fixed |= set(large)

        def build(stay: Collection[str]) -> bytes:
            return half_from_float(data, keep=stay)[0]

    elif precision == "int8" and recipe in RECIPES:
        if not len(calibration):
            raise DataError(
                "int8 needs frames to calibrate on and got none",
                remedy="pass --calibrate DIR with a few dozen frames of your own",
            )
        about.update(recipe=recipe, calibration_frames=len(calibration))
        ranges = activation_ranges(
            data,
            calibration,
            progress=(lambda done, total: progress("calibrate", done, total)) if progress else None,
        )

        def build(stay: Collection[str]) -> bytes:
            return int8_from_float(data, ranges, recipe=recipe, leave_out=stay)

    else:
        raise ArgumentError(
            f"there is no conversion to {precision} by recipe {recipe!r}",
            remedy=f"fp16, or int8 by one of {', '.join(RECIPES)}",
        )
    groups, work = layer_groups(model), layer_work(model)
    shares = [sum(work.get(name, 0) for name in group) for group in groups]
    made, left_out, more = _search(build, judge, groups, shares, fixed, progress)
    heavy = [node.name for node in body_nodes(model) if node.op_type in HEAVY]
    stay = fixed | left_out
    about.update(
        layers=len(heavy),
        float32_layers=[name for name in heavy if name in stay],
        left_out_by_measuring=sorted(left_out),
        **more,
    )
    return made, about


def _search(
    build: Build,
    judge: Judge,
    groups: Sequence[Sequence[str]],
    work: Sequence[int],
    fixed: set[str],
    progress: Progress | None,
) -> tuple[bytes, set[str], dict[str, Any]]:
    """Leaves out as little work as the gate allows: first what costs most for what it computes.

    When the gate is content, each group left out is converted once more, the largest first, and
    stays so if the gate remains content.
    """
    whole = build(fixed)
    report = judge(whole)
    if report.passed:
        return whole, set(), {}
    everything = {name for group in groups for name in group}
    if not judge(build(everything)).passed:
        # Float32 fails as well: the frames prove nothing, or the fault lies elsewhere. The caller
        # judges once more and says so.
        return whole, set(), {}
    costs = []
    for index, group in enumerate(groups):
        if progress:
            progress("sensitivity", index, len(groups))
        alone = judge(build((everything - set(group)) | fixed))
        cost = alone.numbers["mean_logit_difference"]
        costs.append(cost if cost == cost else float("inf"))
    if progress:
        progress("sensitivity", len(groups), len(groups))
    found = [
        {"layers": list(group), "mean_logit_difference": cost, "work": share}
        for group, cost, share in zip(groups, costs, work, strict=True)
    ]
    order = sorted(range(len(groups)), key=lambda i: costs[i] / max(1, work[i]), reverse=True)

    def tried(out: Sequence[int]) -> bytes | None:
        candidate = build(fixed.union(*(groups[index] for index in out)))
        return candidate if judge(candidate).passed else None

    for count in _steps(len(order)):
        out = order[:count]
        made = tried(out)
        if made is None:
            continue
        for index in sorted(out, key=lambda i: work[i], reverse=True):
            fewer = [other for other in out if other != index]
            better = tried(fewer) if fewer else None
            if better is not None:
                made, out = better, fewer
        names = {name for index in out for name in groups[index]}
        return made, names, {"sensitivity": found, "why": list(report.faults)}
    raise ParityError(
        f"no part of the network can be {report.precision} within the limits: "
        + "; ".join(report.faults),
        remedy="export in a higher precision, calibrate on more frames, or set the limits by flag",
    )


def _steps(groups: int) -> list[int]:
    """How many groups to leave out, in the order of trying: one stays converted at least."""
    steps, count = [], 1
    while count < groups:
        steps.append(count)
        count += max(1, count // 2)
    return steps


def _named(keep: Sequence[str], names: Sequence[str]) -> set[str]:
    fixed: set[str] = set()
    for wanted in keep:
        found = {n for n in names if n == wanted or (wanted[-1:] in "/." and n.startswith(wanted))}
        if not found:
            raise ArgumentError(
                f"there is no layer {wanted!r} to keep in float32",
                remedy=f"layers are called like {', '.join(names[:3])}; end a prefix with . or /",
            )
        fixed |= found
    return fixed
