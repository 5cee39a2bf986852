"""An ONNX file of an instance model: its form, its body, and the file itself as reference.

network = instance_file(data, external, source="theirs.onnx", images=images)
network.data, network.manifest                   # the frame-in graph
network.reference(frames)["instances"]           # from the file as it was given
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.contract.text.words import first_line
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.from_onnx import with_current_opset
from trocar.export.graph.imported.canonical import noise_image
from trocar.export.graph.imported.canonical_nodes import cast_outputs, free_batch, prepend_input
from trocar.export.graph.imported.onnx_input import InputForm, input_form, prepare_image
from trocar.export.graph.imported.onnx_source import open_original, simplified, stated_precision
from trocar.export.graph.input_spec import ExternalModel, ModelSpec
from trocar.export.graph.instances.attach import attach_assembly
from trocar.export.graph.instances.per_frame import batched_outputs, lacks_batch
from trocar.export.graph.instances.recognise import Recognised, recognise
from trocar.export.graph.instances.reference import instances_of
from trocar.export.graph.model_file import load
from trocar.export.parity.types import Frame, Outputs

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

_TOLERANCE = 2e-2
"""Largest difference of an output, relative to its range, between a frame alone and in a pair."""


@dataclass(frozen=True)
class InstanceFile:
    """An ONNX file of an instance model.

    Attributes:
        data: The frame-in graph.
        manifest: The manifest in it.
        recognised: Form and roles of the file.
        reference: Runs the file as it was given; NumPy assembles the instances.
    """

    data: bytes
    manifest: Manifest
    recognised: Recognised
    reference: _Reference


@dataclass(frozen=True)
class _Reference:
    session: InferenceSession
    input: InputForm
    recognised: Recognised
    spec: ModelSpec
    classes: int

    def __call__(self, frames: Frame) -> Outputs:
        return stacked([self._one(frame) for frame in frames])

    def _one(self, frame: Frame) -> dict[str, NDArray[Any]]:
        roles = self.recognised.roles
        names = [role.output for role in roles.values()]
        image = self.input.feed(prepare_image(frame, self.spec))
        values = batched_outputs(
            dict(zip(roles, self.session.run(names, {self.input.name: image}), strict=True))
        )
        return instances_of(
            {role: value[0] for role, value in values.items()},
            self.recognised,
            self.spec,
            classes=self.classes,
            frame_size=(frame.shape[0], frame.shape[1]),
        )


def stacked(results: Sequence[Outputs]) -> Outputs:
    """Outputs of single frames as those of a batch."""
    return {name: np.stack([result[name] for result in results]) for name in results[0]}


def instance_file(
    data: bytes, external: ExternalModel, *, source: str, images: Sequence[Frame] = ()
) -> InstanceFile:
    """Looks at a file's inputs and outputs, and makes the frame-in graph.

    Args:
        data: The file, with its weights.
        external: Its input spec and class table.
        source: Its name, for errors.
        images: Frames ``[H,W,3]`` uint8 RGB; the first one is run.

    Raises:
        BundleError: It is no valid ONNX file.
        ArgumentError: Its outputs fit no form, or several.
    """
    spec, classes = external.spec, len(external.manifest.classes)
    given = load(data, source=source)
    if stated_precision(given) == "int8":
        raise ArgumentError(
            f"{source} is quantised (int8), which is not supported for instance models",
            remedy="give the float32 file",
        )
    feed = input_form(given, spec, source=source, allow_single=True)
    image = prepare_image(images[0], spec) if len(images) else noise_image(spec)
    session = open_original(data, source=source)
    own_values = _run(session, feed, image, source)
    add_batch = lacks_batch({name: value.shape for name, value in own_values.items()})
    values = batched_outputs(own_values)
    shapes = {name: value.shape for name, value in values.items()}
    recognised = recognise(shapes, spec, classes=classes, source=source)
    _check_values(values, recognised, classes, source)
    current = with_current_opset(simplified(load(data, source=source)), source)

    def body_of(*, free: bool) -> ModelProto:
        body: ModelProto = type(current).FromString(current.SerializeToString())
        if free:
            free_batch(body)
        prepend_input(body, feed, (spec.height, spec.width))
        roles = recognised.roles.values()
        outputs = [(role.output, len(role.shape)) for role in roles]
        cast_outputs(body, outputs, add_batch=add_batch)
        return body

    per_frame = feed.single or add_batch
    body = body_of(free=bool(feed.batch) and not per_frame)
    if not per_frame:
        fault = _pair_fault(body.SerializeToString(), [image, noise_image(spec)])
        if fault and feed.batch != 1:
            raise ArgumentError(
                f"{source} gives other results in a batch of two: {fault}",
                remedy='export it with a dynamic batch, e.g. dynamic_shapes=({0: "batch"},)',
            )
        per_frame = bool(fault)
        body = body_of(free=False) if per_frame else body
    stated = replace(external.manifest, precision=stated_precision(given))
    external = replace(external, manifest=stated)
    wrapped, manifest = attach_assembly(
        body, external, recognised, source=source, per_frame=per_frame
    )
    reference = _Reference(session, feed, recognised, spec, classes)
    return InstanceFile(wrapped, manifest, recognised, reference)


def _run(
    session: InferenceSession, feed: InputForm, image: NDArray[np.float32], source: str
) -> dict[str, NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, {feed.name: feed.feed(image)}), strict=True))
    except Exception as error:
        raise ArgumentError(
            f"{source} fails on an image {list(image.shape)}: {first_line(error, limit=300)}",
            remedy="correct height and width in the input spec, or export the network again",
        ) from error


def _check_values(
    values: dict[str, NDArray[Any]], recognised: Recognised, classes: int, source: str
) -> None:
    """Refuses values that are not finite, and class ids beyond the table."""
    for name, role in recognised.roles.items():
        value = values[role.output]
        if not np.isfinite(value.astype(np.float64)).all():
            raise ArgumentError(
                f"{source}: output {role.output} has values that are not finite on a real frame",
                remedy="correct mean, std and normalise in the input spec, or export in float32",
            )
        if name in ("boxes", "rows") and recognised.name in ("crops", "coefficients"):
            _check_boxes(value[..., :4], f"{source}: output {role.output}")
        if name in ("classes", "rows"):
            ids = value[..., 5] if name == "rows" else value
            _check_ids(ids, recognised, classes, f"{source}: output {role.output}")


def _check_boxes(boxes: NDArray[Any], where: str) -> None:
    highest = float(boxes.max(initial=0))
    if 0 < highest <= 1.5:
        raise ArgumentError(
            f"{where} has boxes up to {highest:.3g}, expected pixels of the input",
            remedy="export the network so that it multiplies them by the size of its input",
        )


def _check_ids(ids: NDArray[Any], recognised: Recognised, classes: int, where: str) -> None:
    # Labels of torchvision begin with 1 and are rows of the table; others begin with 0.
    rows = classes if recognised.name == "torchvision" else classes - 1
    if ids.size and not 0 <= ids.min() <= ids.max() < rows:
        raise ArgumentError(
            f"{where} has the classes {int(ids.min())} to {int(ids.max())}, but the class table "
            f"has {classes - 1} classes of instances (rows 1 and up)",
            remedy="give the class table that it was trained with, row 0 being the background",
        )


def _pair_fault(data: bytes, images: list[NDArray[np.float32]]) -> str:
    """What differs between a batch of two and the same images one by one; empty for nothing."""
    try:
        session = open_cpu_session(data)
        name = session.get_inputs()[0].name
        pair = session.run(None, {name: np.concatenate(images)})
        for index, image in enumerate(images):
            for one, both in zip(session.run(None, {name: image}), pair, strict=True):
                if one.shape[1:] != both.shape[1:]:
                    continue  # The number of detections follows the frame.
                worst = np.abs(one[0] - both[index]).max(initial=0)
                if worst > _TOLERANCE * max(1e-6, float(np.ptp(one))):
                    raise ValueError(f"values for two images differ by up to {worst:.3g}")
    except Exception as error:
        return first_line(error, limit=200).rpartition(" : ")[2]
    return ""
