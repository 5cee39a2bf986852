"""The input of an ONNX file of other origin: its type, its layout, and how it is fed.

form = input_form(model, spec, source="theirs.onnx")
session.run(None, {form.name: form.feed(prepare_image(frame, spec))})
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.placement import placed_frame

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

INPUT_TYPES = {"float": np.float32, "float16": np.float16, "uint8": np.uint8}
"""Types that an input may have, by their ONNX name."""


@dataclass(frozen=True, kw_only=True)
class InputForm:
    """How a file takes its image.

    Attributes:
        name: Name of the input.
        type: ONNX name of its type; a key of `INPUT_TYPES`.
        channels_last: Whether it takes ``[N,h,w,3]``.
        batch: The batch that the file is made for; 0 for any.
        single: Whether it takes one image without a batch dimension.
    """

    name: str
    type: str = "float"
    channels_last: bool = False
    batch: int = 0
    single: bool = False

    def feed(self, image: NDArray[np.float32]) -> NDArray[Any]:
        """An image ``[N,3,h,w]`` float32 as the file takes it."""
        if self.channels_last:
            image = image.transpose(0, 2, 3, 1)
        if self.type == "uint8":
            image = np.rint(image)
        image = image[0] if self.single else image
        return np.ascontiguousarray(image, INPUT_TYPES[self.type])


def input_form(
    model: ModelProto, spec: ModelSpec, *, source: str, allow_single: bool = False
) -> InputForm:
    """Looks at the inputs of a file.

    Args:
        model: The file.
        spec: Size of the input.
        source: The file's name, for errors.
        allow_single: Take a file whose input has no batch dimension.

    Raises:
        ArgumentError: It takes something else than one image of the size of the input spec.
    """
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    wanted = f"one input [N, 3, {spec.height}, {spec.width}]"
    listed = ", ".join(described(value) for value in inputs)
    if len(inputs) != 1:
        raise ArgumentError(
            f"{source} takes {len(inputs)} inputs ({listed}), expected {wanted}",
            remedy="export the network with the image as its only input, the others as constants",
        )
    shape, kind = dims_of(inputs[0]), type_of(inputs[0])
    if kind not in INPUT_TYPES:
        raise ArgumentError(
            f"{source} takes {listed}, expected {wanted} of float32, float16 or uint8",
            remedy="export the network with a float32 input",
        )
    sides = (spec.height, spec.width)
    single = allow_single and len(shape) == 3
    shape = [1, *shape] if single else shape
    channels_first, channels_last = (
        len(shape) == 4
        and all(
            isinstance(side, str) or side in (0, w) for side, w in zip(shape[1:], want, strict=True)
        )
        for want in ((3, *sides), (*sides, 3))
    )
    if channels_first and channels_last and 3 not in (shape[1], shape[3]):
        channels_last = False  # Nothing is stated: channels first, as PyTorch has them.
    if channels_first == channels_last:
        raise ArgumentError(
            f"{source} takes {listed}, expected {wanted}", remedy=_input_remedy(shape)
        )
    if kind == "uint8" and spec.normalise:
        raise ArgumentError(
            f"{source} takes {listed}: a uint8 image cannot be normalised before it",
            remedy="write normalise = false into the input spec: the network normalises inside",
        )
    batch = shape[0] if isinstance(shape[0], int) else 0
    return InputForm(
        name=inputs[0].name, type=kind, channels_last=channels_last, batch=batch, single=single
    )


def prepare_image(frame: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """A frame ``[H,W,3]`` at the input's size and normalised, by OpenCV and NumPy."""
    image: NDArray[Any] = placed_frame(frame, spec)
    if spec.normalise:
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        image = (image / 255 - mean) / std
    if spec.channels == "bgr":
        image = image[..., ::-1]
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def dims_of(value: ValueInfoProto) -> list[int | str]:
    """Dimensions of a tensor: a number, a name, or 0 where nothing is stated."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def type_of(value: ValueInfoProto) -> str:
    """ONNX name of a tensor's type, e.g. ``float``."""
    import onnx

    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower())


def described(value: ValueInfoProto) -> str:
    """Name, type and shape of a tensor, for errors."""
    return f"{value.name} {type_of(value)} {dims_of(value)}"


def _input_remedy(shape: Sequence[int | str]) -> str:
    """What to do about an input that is no image of three channels of the size of the spec."""
    if len(shape) != 4:
        return "export the network with an input of 4 dimensions: batch, channels, height, width"
    if {3, 0} & {shape[1], shape[3]} or any(isinstance(side, str) for side in (shape[1], shape[3])):
        return "correct height and width in the input spec, or export the network in that form"
    return "export a network of RGB images; put a conversion to other channels into the network"
