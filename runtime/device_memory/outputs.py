"""Outputs of a graph that are in device memory: brought to the host, or located where they are.

values = outputs_of(graph_outputs, stay=True)
instruments = located_outputs(kernels, values, manifest, (1080, 1920), options, view=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trocar.contract.errors import ArgumentError
from trocar.contract.location import LocationOptions
from trocar.contract.manifest import Manifest
from trocar.contract.results import Instrument
from trocar.runtime.device_memory.binding import device_array
from trocar.runtime.device_memory.located import LocationDevice, locate_on_device
from trocar.runtime.frames import check_finite
from trocar.runtime.locate.field_of_view import FieldOfView


def outputs_of(values: Mapping[str, Any], *, stay: bool) -> dict[str, Any]:
    """The outputs of one frame without their batch.

    Args:
        values: By name, see `trocar.runtime.backends.base.TakesDeviceInputs`.
        stay: Whether they stay on the device.

    Raises:
        BackendError: One that was copied holds numbers that are not finite.
    """
    if stay:
        return {name: device_array(value) for name, value in values.items()}
    arrays = {name: value.numpy() for name, value in values.items()}
    check_finite(arrays)
    return {name: array[0] for name, array in arrays.items()}


def located_outputs(
    kernels: LocationDevice,
    outputs: Mapping[str, Any],
    manifest: Manifest,
    frame_size: tuple[int, int],
    options: LocationOptions,
    *,
    view: FieldOfView | None,
) -> tuple[Instrument, ...]:
    """The instruments of one frame, located by kernels.

    Raises:
        ArgumentError: The model does not segment, or its confidence is not finite.
    """
    labels = outputs.get("labels")
    if manifest.task != "segmentation" or labels is None:
        raise ArgumentError(
            f"kernels locate in label maps, and {manifest.name} is a model of {manifest.task}",
            remedy="leave kernels out",
        )
    confidence = outputs.get("confidence")
    return locate_on_device(
        kernels, labels, confidence, manifest.classes, frame_size, options, view=view
    )
