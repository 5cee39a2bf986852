"""The outputs of an instance model: whether they are there and fit each other.

check_instance_outputs(backend.infer(frames), source="model.trocar")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError
from trocar.contract.manifest import MAX_NETWORK_SIDE

OUTPUTS: dict[str, tuple[type[np.generic], int]] = {
    "instances": (np.uint8, 3),
    "labels": (np.uint8, 3),
    "classes": (np.uint8, 2),
    "scores": (np.float32, 2),
    "boxes": (np.float32, 3),
    "count": (np.int32, 1),
}
"""Type and number of dimensions of each output, the batch included."""


def check_instance_outputs(outputs: Mapping[str, NDArray[Any]], *, source: str) -> None:
    """Refuses outputs of an instance model that do not fit each other.

    Args:
        outputs: The graph's outputs by name, batch first.
        source: Name used in error messages.

    Raises:
        BundleError: One is missing, or of another type or shape than the map and the scores say.
    """
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise BundleError(
            f"{source} returned no {', '.join(missing)}", remedy="export the bundle again"
        )
    count, most = len(outputs["instances"]), outputs["scores"].shape[-1:]
    sides = outputs["instances"].shape[1:]
    shapes = {
        "instances": (count, *sides),
        "labels": (count, *sides),
        "classes": (count, *most),
        "scores": (count, *most),
        "boxes": (count, *most, 4),
        "count": (count,),
    }
    for name, (kind, rank) in OUTPUTS.items():
        value = outputs[name]
        fits = value.dtype == kind and value.ndim == rank and value.shape == shapes[name]
        if not fits or (name == "instances" and not 0 < max(sides) <= MAX_NETWORK_SIDE):
            raise BundleError(
                f"{source} returned {name} {value.dtype} {list(value.shape)}, of the wrong type or "
                "shape",
                remedy="export the bundle again",
            )
    highest = int(outputs["instances"].max(initial=0))
    if highest > most[0]:
        raise BundleError(
            f"{source} returned instance {highest}, but at most {most[0]} have a class",
            remedy="export the bundle again",
        )
