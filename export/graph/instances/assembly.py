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

_NO_BIT = 512.0
"""Above the number of every instance."""


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
    """The best candidates: ``picked`` ``[N,K]``, and how many reach the smallest score.

    K is the number of candidates that reach it in any frame of the batch, at least 1: what is
    done for each pixel of a mask is done for these only.
    """
    lines = [
        "is_over = GreaterOrEqual (cand_scores, least_score)",
        "over = Cast <to = 6> (is_over)",
        "over_count = ReduceSum <keepdims = 0> (over, int_axis_1)",
    ]
    if part.count >= most:
        lines += [
            "top_scores, top_picked = TopK <axis = 1> (cand_scores, most)",
            "top_classes = GatherElements <axis = 1> (cand_classes, top_picked)",
        ]
    else:
        # Fewer candidates than instances: empty ones behind them.
        operator, by = ("Sub", "int_1") if part.count else ("Add", "int_0")
        lines += [
            "candidate_count = Shape <start = 1, end = 2> (cand_scores)",
            # A form with a fixed number of candidates has no mask for an empty one.
            f"last_candidate = {operator} (candidate_count, {by})",
            "filled_scores = Pad (cand_scores, fill, none_score)",
            "filled_classes = Pad (cand_classes, fill)",
            "top_scores, top_rows = TopK <axis = 1> (filled_scores, most)",
            "top_classes = GatherElements <axis = 1> (filled_classes, top_rows)",
            "top_picked = Min (top_rows, last_candidate)",
        ]
    return [
        *lines,
        "is_good = GreaterOrEqual (top_scores, least_score)",
        "good_values = Cast <to = 1> (is_good)",
        "good_of_any = ReduceMax <keepdims = 0> (good_values, int_0)",
        "good_or_first = Max (good_of_any, only_first)",
        "good_sum = ReduceSum <keepdims = 1> (good_or_first)",
        "good_count = Cast <to = 7> (good_sum)",
        "good_ranks = Slice (all_ranks, int_0, good_count)",
        "picked = Gather <axis = 1> (top_picked, good_ranks)",
        "good_picked = Gather <axis = 1> (is_good, good_ranks)",
    ]


def _masks(part: GraphPart, *, padded: bool) -> list[str]:
    """The masks at the size of the map: ``final`` ``[N,K,h,w]``, above 0 inside."""
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
    return [*lines, f"final = Identity ({last})"]


def _order() -> list[str]:
    """``order``: candidates by score, then by first pixel; those without a pixel come last."""
    return [
        "row_signal = ReduceMax <keepdims = 0> (final, axis_3)",
        "row_has = Greater (row_signal, zero)",
        "shown = Greater (final, zero)",
        "covered = Cast <to = 1> (shown)",
        # Sums by a matrix product: ten times as fast as ReduceMax over this dimension.
        "column_sums = MatMul (row_of_ones, covered)",
        "column_sum = Squeeze (column_sums, int_axis_2)",
        "column_has = Greater (column_sum, zero)",
        "in_row = Cast <to = 1> (row_has)",
        "in_column = Cast <to = 1> (column_has)",
        "has_any = ReduceMax <keepdims = 0> (in_row, int_axis_2)",
        "first_row = ArgMax <axis = 2, keepdims = 1> (in_row)",
        "first_line = GatherND <batch_dims = 2> (final, first_row)",
        "line_has = Greater (first_line, zero)",
        "in_line = Cast <to = 1> (line_has)",
        "first_column = ArgMax <axis = 2, keepdims = 1> (in_line)",
        "first_offset = Mul (first_row, int_map_width)",
        "first_pixel = Add (first_offset, first_column)",
        "first_pixels = Squeeze (first_pixel, int_axis_2)",
        "first_place = Cast <to = 1> (first_pixels)",
        # Back to all places, of which those behind the last good one are empty.
        "picked_shape = Shape (picked)",
        "good_index = Expand (good_ranks, picked_shape)",
        "nothing = Mul (top_scores, zero)",
        "has_pixels = ScatterElements <axis = 1> (nothing, good_index, has_any)",
        "all_first = ScatterElements <axis = 1> (nothing, good_index, first_place)",
        "has_signal = Greater (has_pixels, zero)",
        "is_seen = And (has_signal, is_good)",
        "seen_scores = Where (is_seen, top_scores, none_score)",
        "_places, by_place = TopK <axis = 1, largest = 0> (all_first, most)",
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
    """The map of instances, the labels and the boxes.

    A pixel has one bit for each instance that covers it, eight in a word; a table gives the first
    bit of a word. The sums are below 256 and exact in every type of float.
    """
    return [
        "order_values = Cast <to = 1> (order)",
        "_ordered, rank_of = TopK <axis = 1, largest = 0> (order_values, most)",
        "rank_of_good = Gather <axis = 1> (rank_of, good_ranks)",
        "bit_rows = Gather <axis = 0> (bits, rank_of_good)",
        "good_3 = Unsqueeze (good_picked, int_axis_2)",
        "good_bits = Where (good_3, bit_rows, zero)",
        "bits_first = Transpose <perm = [0, 2, 1]> (good_bits)",
        "covered_flat = Reshape (covered, flat_mask_shape)",
        "words = MatMul (bits_first, covered_flat)",
        "word_index = Cast <to = 6> (words)",
        "flat_words = Reshape (word_index, flat_shape_of_words)",
        "batch_of_1 = Shape <start = 0, end = 1> (words)",
        "table_shape = Concat <axis = 0> (batch_of_1, int_256)",
        "table = Expand (first_bit_of, table_shape)",
        "flat_bits = GatherElements <axis = 1> (table, flat_words)",
        "first_bits = Reshape (flat_bits, shape_of_words)",
        "numbers = Add (first_bits, word_starts)",
        "number = ReduceMin <keepdims = 0> (numbers, int_axis_1)",
        "is_painted = Less (number, beyond)",
        "number_or_0 = Where (is_painted, number, zero)",
        # Engines take uint8 at the outputs only.
        "number_map = Reshape (number_or_0, map_shape)",
        "instances = Cast <to = 2> (number_map)",
        "class_of_number = Pad (kept_classes, before)",
        "number_index = Cast <to = 6> (number_or_0)",
        "flat_labels = GatherElements <axis = 1> (class_of_number, number_index)",
        "label_map = Reshape (flat_labels, map_shape)",
        "labels = Cast <to = 2> (label_map)",
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
        "boxes_shape = Shape (mask_boxes)",
        "good_index_3 = Unsqueeze (good_index, int_axis_2)",
        "box_index = Expand (good_index_3, boxes_shape)",
        "nothing_3 = Unsqueeze (nothing, int_axis_2)",
        "no_boxes = Mul (nothing_3, box_zeros)",
        "all_boxes = ScatterElements <axis = 1> (no_boxes, box_index, mask_boxes)",
        "order_places = Unsqueeze (order, int_axis_2)",
        "ordered_boxes = GatherND <batch_dims = 1> (all_boxes, order_places)",
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
        "only_first": np.eye(1, most, dtype=np.float32)[0],
        "bits": _bits(most),
        "first_bit_of": _first_bit_of()[None],
        "int_256": np.array([256], np.int64),
        "all_ranks": np.arange(most),
        "row_of_ones": np.ones((1, height), np.float32),
        "flat_shape_of_words": np.array([0, -1], np.int64),
        "shape_of_words": np.array([0, (most + 7) // 8, height * width], np.int64),
        "word_starts": np.arange(0, most, 8, dtype=np.float32)[:, None],
        "beyond": np.array(_NO_BIT, np.float32),
        "box_zeros": np.zeros((1, 1, 4), np.float32),
        "int_map_width": np.array(width, np.int64),
        "map_shape": np.array([-1, height, width], np.int64),
        "map_size": np.array([height, width], np.int64),
        "flat_mask_shape": np.array([0, -1, height * width], np.int64),
        "columns": (columns + np.float32(0.5)).reshape(1, 1, 1, width),
        "rows_4": (rows + np.float32(0.5)).reshape(1, 1, height, 1),
        "column_ends": columns + 1,
        "column_starts": width - columns,
        "row_ends": rows + 1,
        "row_starts": height - rows,
        "map_width": np.array(width, np.float32),
        "map_height": np.array(height, np.float32),
    }


def _bits(most: int) -> NDArray[np.float32]:
    """``[M, words]``: the bit of each rank; the better an instance, the higher its bit."""
    ranks = np.arange(most)
    bits = np.zeros((most, (most + 7) // 8), np.float32)
    bits[ranks, ranks // 8] = 2.0 ** (7 - ranks % 8)
    return bits


def _first_bit_of() -> NDArray[np.float32]:
    """``[256]``: number from 1 of the highest bit of a word, `_NO_BIT` for none."""
    return np.array([_NO_BIT, *(9 - word.bit_length() for word in range(1, 256))], np.float32)
