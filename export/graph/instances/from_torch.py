"""A PyTorch network of an instance model: its body as ONNX, and itself as reference.

data, manifest = onnx_from_instance_network(network, manifest)
reference = instance_reference(network, manifest)
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.contract.text.words import first_line
from trocar.export.graph.imported.torch_output import named_tensors
from trocar.export.graph.input_spec import ExternalModel, ModelSpec, spec_of_instances
from trocar.export.graph.instances.attach import attach_assembly
from trocar.export.graph.instances.from_onnx import stacked
from trocar.export.graph.instances.per_frame import lacks_batch
from trocar.export.graph.instances.placement import placed_frame
from trocar.export.graph.instances.recognise import Recognised, recognise
from trocar.export.graph.instances.reference import instances_of
from trocar.export.graph.model_file import OPSET, quiet_exporter, strip_metadata
from trocar.export.parity.types import Frame, Infer, Outputs

if TYPE_CHECKING:
    from onnx import ModelProto

_TRACED_OPSET = 18
"""PyTorch's exporter by tracing writes operator sets up to 20; torchvision states 11 and later."""


class InstanceBody(nn.Module):
    """Returns the tensors of the roles, in their order, as float32.

    Args:
        network: Takes ``[N,3,h,w]`` float32 RGB 0..255, returns tensors in any container.
        recognised: Form and roles; the outputs are named as `named_tensors` names them.
        add_batch: The network returns tensors for one image, without a batch dimension.
    """

    def __init__(
        self, network: nn.Module, recognised: Recognised, *, add_batch: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.names = [role.output for role in recognised.roles.values()]
        self.add_batch = add_batch

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``[N,3,h,w]`` to one tensor for each role."""
        tensors = dict(named_tensors(self.network(image)))
        values = [tensors[name].to(torch.float32) for name in self.names]
        return tuple(value[None] if self.add_batch else value for value in values)


def onnx_from_instance_network(network: nn.Module, manifest: Manifest) -> tuple[bytes, Manifest]:
    """Exports an instance network behind the frame-in graph.

    Args:
        network: Takes ``[N,3,h,w]`` float32 RGB 0..255; a copy of it is used.
        manifest: Its ``extra["instances"]`` states the form and the limits.

    Raises:
        ArgumentError: Its outputs fit no form, or it has no ONNX form.
    """
    import onnx

    spec = spec_of_instances(manifest)
    body, recognised = _body(network, manifest, spec)
    try:
        with quiet_exporter(), torch.no_grad():
            model = (
                _traced(body, recognised, spec)
                if body.add_batch
                else _exported(body, recognised, spec)
            )
    except Exception as error:
        raise ArgumentError(
            f"the network has no ONNX form: {first_line(error.__cause__ or error)}",
            remedy="replace that operation in the network by ones that ONNX has, or make an ONNX "
            "file of it and use `trocar import-onnx`",
        ) from error
    strip_metadata(model)
    for index, node in enumerate(model.graph.node):
        node.name = f"layer_{index}/{node.op_type}"
    onnx.checker.check_model(model, full_check=True)
    # The network normalises inside, in the order of channels that it was trained on.
    external = ExternalModel(spec, replace(manifest, files={}))
    return attach_assembly(
        model, external, recognised, source="the network", per_frame=body.add_batch
    )


def _exported(body: InstanceBody, recognised: Recognised, spec: ModelSpec) -> ModelProto:
    """The ONNX model of a network that takes batches."""
    program = torch.onnx.export(
        body,
        (torch.full((2, 3, spec.height, spec.width), 127.0),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(recognised.roles),
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _traced(body: InstanceBody, recognised: Recognised, spec: ModelSpec) -> ModelProto:
    """The ONNX model of a detector that takes one image.

    PyTorch's exporter by tracing: torchvision states the numbers of its detections in the form
    that this one needs.
    """
    import onnx

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            body,
            (_coloured_image(spec),),
            file,  # type: ignore[arg-type]  # It takes files; its annotation does not say so.
            dynamo=False,
            opset_version=_TRACED_OPSET,
            input_names=["image"],
            output_names=list(recognised.roles),
            dynamic_axes={name: {1: f"count_{name}"} for name in recognised.roles},
        )
    return onnx.load_model_from_string(file.getvalue())


def _coloured_image(spec: ModelSpec) -> Tensor:
    """An image ``[1,3,h,w]`` 0..255 of coloured spots, so that a detector finds something."""
    coarse = np.random.default_rng(0).uniform(0, 255, (1, 3, 5, 6)).astype(np.float32)
    return nn.functional.interpolate(
        torch.from_numpy(coarse), size=(spec.height, spec.width), mode="bilinear"
    )


def instance_reference(network: nn.Module, manifest: Manifest) -> Infer:
    """Runs a network in PyTorch, one frame at a time; NumPy assembles the instances."""
    spec = spec_of_instances(manifest)
    body, recognised = _body(network, manifest, spec)

    def one(frame: Frame) -> Mapping[str, NDArray[Any]]:
        image = torch.from_numpy(placed_frame(frame, spec).transpose(2, 0, 1)[None])
        with torch.no_grad():
            values = [tensor[0].numpy() for tensor in body(image)]
        return instances_of(
            dict(zip(recognised.roles, values, strict=True)),
            recognised,
            spec,
            classes=len(manifest.classes),
            frame_size=(frame.shape[0], frame.shape[1]),
        )

    def infer(frames: Frame) -> Outputs:
        return stacked([one(np.ascontiguousarray(frame)) for frame in frames])

    return infer


def _body(
    network: nn.Module, manifest: Manifest, spec: ModelSpec
) -> tuple[InstanceBody, Recognised]:
    module = copy.deepcopy(network).cpu().float().eval()
    image = _coloured_image(spec)
    try:
        with torch.no_grad():
            output = module(image)
    except Exception as error:
        raise ArgumentError(
            f"the network failed on an image {list(image.shape)}: {first_line(error)}",
            remedy="correct the size of the input in the input spec, or the network",
        ) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(output)}
    add_batch = lacks_batch(shapes)
    if add_batch:
        shapes = {name: (1, *shape) for name, shape in shapes.items()}
    recognised = recognise(shapes, spec, classes=len(manifest.classes), source="the network")
    return InstanceBody(module, recognised, add_batch=add_batch).eval(), recognised
