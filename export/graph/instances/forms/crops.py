"""Finished detections with a small mask inside each box: Mask R-CNN of other libraries.

    roles = find({"dets": (1, 100, 5), "labels": (1, 100), "masks": (1, 100, 28, 28)}, spec, 4)

As `trocar.export.graph.instances.forms.detections`, but the probabilities ``[N,Q,m,m]`` (also
``[N,Q,1,m,m]``) cover the box and not the image. Boxes are in pixels of the network's input. A
mask is interpolated bilinearly into its box; around the outermost values it falls to 0 (He et al.,
Mask R-CNN, ICCV 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms import base, detections

_MIN_SIDE = 1e-3
"""Smallest side of a box in pixels that is divided by."""


def find(
    shapes: Mapping[str, base.Shape], spec: ModelSpec, classes: int
) -> dict[str, base.Role] | None:
    """Boxes, scores, classes and small masks of the same number of detections."""
    masks = [*base.of_rank(shapes, 4), *base.of_rank(shapes, 5)]
    if len(masks) != 1 or not base.may_be_cropped(shapes[masks[0]]):
        return None
    found = detections.find_with(shapes, masks[0])
    return found if found is not None and "boxes" in found else None


def graph(roles: base.Roles, spec: ModelSpec, classes: int) -> base.GraphPart:
    """Scores as they are; the best masks are pasted by two products with hat functions."""
    side = roles["masks"].shape[-1]
    lines = [
        *detections.picked_lines(roles, "masks", "boxes"),
        "box_sides = Slice (picked_boxes, at_0, at_4, axis_2)",
        "paste_x0, paste_y0, paste_x1, paste_y1 = Split <axis = 2, num_outputs = 4> (box_sides)",
    ]
    for axis, centres in (("x", "column_centres"), ("y", "row_centres")):
        lines += [
            f"raw_{axis} = Sub (paste_{axis}1, paste_{axis}0)",
            f"side_{axis} = Max (raw_{axis}, least_side)",
            f"from_{axis} = Sub ({centres}, paste_{axis}0)",
            f"share_{axis} = Div (from_{axis}, side_{axis})",
            f"scaled_{axis} = Mul (share_{axis}, mask_side)",
            f"place_{axis} = Sub (scaled_{axis}, half)",
            f"places_{axis} = Unsqueeze (place_{axis}, axis_3)",
            f"gap_{axis} = Sub (places_{axis}, mask_places)",
            f"far_{axis} = Abs (gap_{axis})",
            f"near_{axis} = Sub (one, far_{axis})",
            f"hat_{axis} = Max (near_{axis}, zero)",
        ]
    return base.GraphPart(
        candidates=detections.candidate_lines(roles),
        masks=[
            *lines,
            "pasted_rows = MatMul (hat_y, picked_masks)",
            "hat_x_first = Transpose <perm = [0, 1, 3, 2]> (hat_x)",
            "pasted = MatMul (pasted_rows, hat_x_first)",
            "signal = Sub (pasted, half)",
        ],
        count=0,
        constants={
            **detections.constants(roles),
            "at_0": np.array([0], np.int64),
            "least_side": np.array(_MIN_SIDE, np.float32),
            "mask_side": np.array(side, np.float32),
            "mask_places": np.arange(side, dtype=np.float32),
            "one": np.array(1, np.float32),
            "column_centres": np.arange(spec.width, dtype=np.float32)[None, None] + 0.5,
            "row_centres": np.arange(spec.height, dtype=np.float32)[None, None] + 0.5,
        },
    )


def candidates(
    values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
) -> base.Candidates:
    """The same for one frame."""
    masks = values["masks"].astype(np.float32)
    masks = masks[:, 0] if masks.ndim == 4 else masks

    def pasted(number: int) -> base.Float:
        box = values["boxes"][number, :4].astype(np.float32)
        signal = pasted_mask(masks[number], box, (spec.height, spec.width))
        shifted: base.Float = signal - np.float32(detections.HALF)
        return shifted

    return base.Candidates(
        scores=detections.scores_of(values),
        classes=values["classes"].astype(np.int64) + 1,
        mask=pasted,
    )


def pasted_mask(mask: base.Float, box: base.Float, size: tuple[int, int]) -> base.Float:
    """A mask in its box, interpolated between the four nearest values of each pixel.

    Args:
        mask: ``[m,m]`` probabilities.
        box: x0, y0, x1, y1 in pixels.
        size: Height and width of the image.

    Returns:
        ``[h,w]``, 0 outside.
    """
    framed = np.pad(mask, 1)
    axes = []
    for low, high, pixels in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        centres = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
        side = np.maximum(high - low, np.float32(_MIN_SIDE))
        place = (centres - low) / side * len(mask) + np.float32(0.5)
        place = np.clip(place, 0, len(mask) + 1)
        first = np.minimum(place.astype(np.int64), len(mask))
        axes.append((first, place - first))
    (rows, down), (columns, right) = axes
    top = framed[rows][:, columns] * (1 - right) + framed[rows][:, columns + 1] * right
    below = framed[rows + 1][:, columns] * (1 - right) + framed[rows + 1][:, columns + 1] * right
    return np.asarray(top * (1 - down)[:, None] + below * down[:, None], np.float32)
