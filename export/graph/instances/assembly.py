"""From the candidates of a form to the outputs of an instance model, as ONNX text.

    model = assembly_graph(part, roles, spec, opset=20, ir_version=10)

The best candidates are sorted by score; of equal scores the one whose mask begins first comes
first. Where masks overlap, the pixel is of the better instance. `trocar.export.graph.instances.
reference` does the same in NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.manifest import OutputSpec
from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms.base import GraphPart, Roles
from trocar.export.graph.instances.placement import resize_lines

if TYPE_CHECKING:
    from onnx import ModelProto

NAMES = ("instances", "labels", "classes", "scores", "boxes", "count")
"""Outputs of an instance model, in the graph's order."""

PLACED = "placement"
"""Input of the assembly of a padded model: where the frame lies in the network's input."""


def instance_outputs(spec: ModelSpec) -> tuple[OutputSpec, ...]:
    """Outputs of an instance model."""
    size, most = (spec.height, spec.width), spec.max_instances
    return (
        OutputSpec(name="instances", dtype="uint8", shape=("batch", *size)),
        OutputSpec(name="labels", dtype="uint8", shape=("batch", *size)),
        OutputSpec(name="classes", dtype="uint8", shape=("batch", most)),
        OutputSpec(name="scores", dtype="float32", shape=("batch", most)),
        OutputSpec(name="boxes", dtype="float32", shape=("batch", most, 4)),
        OutputSpec(name="count", dtype="int32", shape=("batch",)),
    )


def assembly_graph(
    part: GraphPart, roles: Roles, spec: ModelSpec, *, opset: int, ir_version: int
) -> ModelProto:
    """The graph behind the network: its inputs are named by the roles.

    Args:
        part: The form's own nodes.
        roles: Outputs of the network.
        spec: Size, limits, and how the frame was brought to the size.
        opset: Operator set of the network.
        ir_version: IR version of the network.
    """
    import onnx

    height, width, most = spec.height, spec.width, spec.max_instances
    inputs = [_declared(name, role.shape) for name, role in roles.items()]
    padded = spec.resize != "stretch"
    if padded:
        inputs.append(f"int64[4] {PLACED}")
    outputs = [
        f"uint8[batch, {height}, {width}] instances",
        f"uint8[batch, {height}, {width}] labels",
        f"uint8[batch, {most}] classes",
        f"float[batch, {most}] scores",
        f"float[batch, {most}, 4] boxes",
        "int32[batch] count",
    ]
    lines = [
        *part.candidates,
        *_choice(part, most),
        *part.masks,
        *_masks(part, padded=padded),
        *_order(),
        *_painting(),
    ]
    model = onnx.parser.parse_model(
        f'<ir_version: {ir_version}, opset_import: ["": {opset}]> '
        f"trocar ({', '.join(inputs)}) => ({', '.join(outputs)}) {{ {' '.join(lines)} }}"
    )
    used = {name for node in model.graph.node for name in node.input}
    constants = {**_constants(spec), **part.constants}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name)
        for name, value in constants.items()
        if name in used
    )
    return model


def input_name(role: str) -> str:
    """Name of the assembly's input for a role."""
    return f"own_{role}"


def _declared(role: str, shape: tuple[int, ...]) -> str:
    dims = ", ".join(["batch", *(f"{role}_{i}" for i in range(1, len(shape)))])
    return f"float[{dims}] {input_name(role)}"


def _choice(part: GraphPart, most: int) -> list[str]:
    """The best candidates, and how many reach the smallest score."""
    lines = [
        "is_over = GreaterOrEqual (cand_scores, least_score)",
        "over = Cast <to = 6> (is_over)",
        "over_count = ReduceSum <keepdims = 0> (over, int_axis_1)",
    ]
    if part.count >= most:
        return [
            *lines,
            "top_scores, picked = TopK <axis = 1> (cand_scores, most)",
            "top_classes = GatherElements <axis = 1> (cand_classes, picked)",
        ]
    # Fewer candidates than instances: empty ones behind them.
    operator, by = ("Sub", "int_1") if part.count else ("Add", "int_0")
    return [
        *lines,
        "candidate_count = Shape <start = 1, end = 2> (cand_scores)",
        # A form with a fixed number of candidates has no mask for an empty one.
        f"last_candidate = {operator} (candidate_count, {by})",
        "filled_scores = Pad (cand_scores, fill, none_score)",
        "filled_classes = Pad (cand_classes, fill)",
        "top_scores, top_rows = TopK <axis = 1> (filled_scores, most)",
        "top_classes = GatherElements <axis = 1> (filled_classes, top_rows)",
        "picked = Min (top_rows, last_candidate)",
    ]


def _masks(part: GraphPart, *, padded: bool) -> list[str]:
    """The masks at the size of the map: ``shown`` ``[N,M,h,w]`` bool, and ``flat`` as float32."""
    lines = resize_lines("signal", "sized", "map_size")
    last = "sized"
    if part.crop:
        lines += [
            "crop_x0, crop_y0, crop_x1, crop_y1 = Split <axis = 2, num_outputs = 4> (crop)",
            *(
                f"{n}_4 = Unsqueeze ({n}, axis_3)"
                for n in ("crop_x0", "crop_y0", "crop_x1", "crop_y1")
            ),
            "right_of = GreaterOrEqual (columns, crop_x0_4)",
            "left_of = Less (columns, crop_x1_4)",
            "below = GreaterOrEqual (rows_4, crop_y0_4)",
            "above = Less (rows_4, crop_y1_4)",
            "in_columns = And (right_of, left_of)",
            "in_rows = And (below, above)",
            "in_crop = And (in_columns, in_rows)",
            "distance = Abs (sized)",
            "outside = Neg (distance)",
            "cropped = Where (in_crop, sized, outside)",
        ]
        last = "cropped"
    if padded:
        lines += [
            f"place_start = Slice ({PLACED}, int_0, int_2)",
            f"place_size = Slice ({PLACED}, int_2, int_4)",
            "place_end = Add (place_start, place_size)",
            f"content_signal = Slice ({last}, place_start, place_end, axes_2_3_map)",
            *resize_lines("content_signal", "whole", "map_size"),
        ]
        last = "whole"
    return [
        *lines,
        f"is_inside = Greater ({last}, zero)",
        "is_good = GreaterOrEqual (top_scores, least_score)",
        "is_good_4 = Unsqueeze (is_good, axes_2_3_map)",
        "shown = And (is_inside, is_good_4)",
        "flat = Cast <to = 1> (shown)",
    ]


def _order() -> list[str]:
    """``order``: candidates by score, then by first pixel; those without a pixel come last."""
    return [
        "lines_of = Reshape (flat, flat_mask_shape)",
        "has_pixels = ReduceMax <keepdims = 0> (lines_of, int_axis_2)",
        "first_pixel = ArgMax <axis = 2, keepdims = 0> (lines_of)",
        "first_place = Cast <to = 1> (first_pixel)",
        "is_seen = Greater (has_pixels, zero)",
        "seen_scores = Where (is_seen, top_scores, none_score)",
        "_places, by_place = TopK <axis = 1, largest = 0> (first_place, most)",
        "placed_scores = GatherElements <axis = 1> (seen_scores, by_place)",
        "sorted_scores, ranks = TopK <axis = 1> (placed_scores, most)",
        "order = GatherElements <axis = 1> (by_place, ranks)",
        "is_kept = GreaterOrEqual (sorted_scores, least_score)",
        "scores = Where (is_kept, sorted_scores, zero)",
        "sorted_classes = GatherElements <axis = 1> (top_classes, order)",
        "kept_classes = Where (is_kept, sorted_classes, int_zero)",
        "classes = Cast <to = 2> (kept_classes)",
        # Candidates without a pixel are no instances; those beyond the maximum are counted.
        "is_empty = Not (is_seen)",
        "is_lost = And (is_empty, is_good)",
        "lost = Cast <to = 6> (is_lost)",
        "lost_count = ReduceSum <keepdims = 0> (lost, int_axis_1)",
        "count = Sub (over_count, lost_count)",
    ]


def _painting() -> list[str]:
    """The map of instances, the labels and the boxes."""
    return [
        "order_values = Cast <to = 1> (order)",
        "_ordered, rank_of = TopK <axis = 1, largest = 0> (order_values, most)",
        "rank_values = Cast <to = 1> (rank_of)",
        "strength = Sub (most_value, rank_values)",
        "strength_4 = Unsqueeze (strength, axes_2_3_map)",
        "painted = Where (shown, strength_4, zero)",
        "winner = ReduceMax <keepdims = 0> (painted, int_axis_1)",
        "is_painted = Greater (winner, zero)",
        "number = Sub (one_more, winner)",
        "number_or_0 = Where (is_painted, number, zero)",
        "instances = Cast <to = 2> (number_or_0)",
        "whole_number = Cast <to = 7> (number_or_0)",
        "class_of_number = Pad (kept_classes, before)",
        "number_places = Unsqueeze (whole_number, axis_3)",
        "label_values = GatherND <batch_dims = 1> (class_of_number, number_places)",
        "labels = Cast <to = 2> (label_values)",
        "order_places = Unsqueeze (order, int_axis_2)",
        "in_column = ReduceMax <keepdims = 0> (flat, int_axis_2)",
        "in_row = ReduceMax <keepdims = 0> (flat, axis_3)",
        "from_left = Mul (in_column, column_ends)",
        "from_right = Mul (in_column, column_starts)",
        "from_top = Mul (in_row, row_ends)",
        "from_bottom = Mul (in_row, row_starts)",
        "box_x1 = ReduceMax <keepdims = 1> (from_left, int_axis_2)",
        "far_x0 = ReduceMax <keepdims = 1> (from_right, int_axis_2)",
        "box_x0 = Sub (map_width, far_x0)",
        "box_y1 = ReduceMax <keepdims = 1> (from_top, int_axis_2)",
        "far_y0 = ReduceMax <keepdims = 1> (from_bottom, int_axis_2)",
        "box_y0 = Sub (map_height, far_y0)",
        "mask_boxes = Concat <axis = 2> (box_x0, box_y0, box_x1, box_y1)",
        "ordered_boxes = GatherND <batch_dims = 1> (mask_boxes, order_places)",
        "is_kept_3 = Unsqueeze (is_kept, int_axis_2)",
        "boxes = Where (is_kept_3, ordered_boxes, zero)",
    ]


def _constants(spec: ModelSpec) -> dict[str, NDArray[Any]]:
    height, width, most = spec.height, spec.width, spec.max_instances
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return {
        "zero": np.array(0, np.float32),
        "int_zero": np.array(0, np.int64),
        "int_0": np.array([0], np.int64),
        "int_1": np.array([1], np.int64),
        "int_2": np.array([2], np.int64),
        "int_4": np.array([4], np.int64),
        "int_axis_1": np.array([1], np.int64),
        "int_axis_2": np.array([2], np.int64),
        "axis_3": np.array([3], np.int64),
        "axes_2_3_map": np.array([2, 3], np.int64),
        "least_score": np.array(spec.score, np.float32),
        "none_score": np.array(-1, np.float32),
        "most": np.array([most], np.int64),
        "fill": np.array([0, 0, 0, most], np.int64),
        "before": np.array([0, 1, 0, 0], np.int64),
        "most_value": np.array(most, np.float32),
        "one_more": np.array(most + 1, np.float32),
        "map_size": np.array([height, width], np.int64),
        "flat_mask_shape": np.array([0, 0, height * width], np.int64),
        "columns": (columns + np.float32(0.5)).reshape(1, 1, 1, width),
        "rows_4": (rows + np.float32(0.5)).reshape(1, 1, height, 1),
        "column_ends": columns + 1,
        "column_starts": width - columns,
        "row_ends": rows + 1,
        "row_starts": height - rows,
        "map_width": np.array(width, np.float32),
        "map_height": np.array(height, np.float32),
    }
