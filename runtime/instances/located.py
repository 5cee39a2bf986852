"""From the outputs of a graph to instruments, for models with labels and with instances.

instruments = locate_outputs(outputs, manifest, (1080, 1920), options)
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


def locate_outputs(
    outputs: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    frame_size: tuple[int, int],
    options: LocationOptions,
    *,
    view: FieldOfView | None = None,
) -> tuple[Instrument, ...]:
    """Finds the instruments in the outputs of one frame; none where there are no labels.

    Args:
        outputs: The graph's outputs by name, without the batch dimension.
        manifest: The model's: its task and class table.
        frame_size: ``(height, width)`` of the frame.
        options: What counts as an instrument.
        view: The endoscope's field of view; ``None`` for the full frame.
    """
    table = manifest.classes
    if manifest.task == "instances":
        return locate_instances(
            outputs["instances"],
            outputs["classes"].tolist(),
            outputs["scores"].tolist(),
            table,
            frame_size,
            options,
            view=view,
        )
    labels = outputs.get("labels")
    if labels is None:
        return ()
    return locate(labels, outputs.get("confidence"), table, frame_size, options, view=view)
