"""Located instruments of one frame's outputs, for models of labels and models of instances.

located_instruments(outputs, manifest, (1080, 1920), options, view=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from trocar.contract.location import LocationOptions
from trocar.contract.manifest import Manifest
from trocar.contract.results import Instrument
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate, locate_instances


def located_instruments(
    outputs: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    frame_size: tuple[int, int],
    options: LocationOptions,
    *,
    view: FieldOfView | None,
) -> tuple[Instrument, ...]:
    """Instruments of the instance map, or of the labels; none for a classifier.

    Args:
        outputs: The graph's outputs by name, without the batch dimension.
        manifest: The model's manifest.
        frame_size: ``(height, width)`` of the frame.
        options: What counts as an instrument.
        view: The endoscope's field of view; ``None`` for the full frame.
    """
    if manifest.task == "instances":
        return locate_instances(
            outputs["instances"],
            outputs["classes"].tolist(),
            outputs["scores"].tolist(),
            manifest.classes,
            frame_size,
            options,
            view=view,
        )
    labels = outputs.get("labels")
    if labels is None:
        return ()
    return locate(
        labels, outputs.get("confidence"), manifest.classes, frame_size, options, view=view
    )
