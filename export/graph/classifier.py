"""Classifier graphs whose classes are inputs with defaults, and the files that enrolment needs.

    tensors = class_tensors(network)                    # each becomes an input of the graph
    attach_defaults(model, tensors)                     # a caller may leave these inputs out
    manifest, files = class_files(network, manifest)    # enroll.onnx, classes-….npz

In ONNX an initializer with the name of an input is that input's default. So every runtime can run
the graph with frames alone, and ONNX Runtime can be given other classes without a new export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from trocar.contract.class_store import ENROLL, ClassStore
from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.export.graph.model_file import OPSET, quiet_exporter, strip_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

CLASSES = "classes"
"""Name of the dynamic dimension of the class tensors."""

DynamicShapes: TypeAlias = tuple[dict[int, str] | tuple[dict[int, str], ...], ...]
"""For each argument of a traced module: names of its dynamic dimensions."""


class NetworkWithClasses(Protocol):
    """What export needs of a classifier whose classes can be changed after the export."""

    enroller: nn.Module

    def class_prototypes(self) -> Mapping[str, Tensor]:
        """Class tensors by the name of their input."""

    def support_features(self) -> tuple[Tensor, Tensor]:
        """Features ``[S,F]`` of the enrolled photographs and the class ``[S]`` of each."""


def class_tensors(network: nn.Module) -> dict[str, Tensor]:
    """The class tensors of a network by input name; empty where its classes are fixed."""
    maker = getattr(network, "class_prototypes", None)
    if maker is None:
        return {}
    with torch.no_grad():
        return {name: tensor.detach().float().cpu() for name, tensor in maker().items()}


def with_class_dimension(manifest: Manifest) -> Manifest:
    """The manifest with scores of shape ``(batch, classes)``: their number may change."""
    outputs = tuple(
        replace(output, shape=("batch", CLASSES)) if output.name == "scores" else output
        for output in manifest.outputs
    )
    return replace(manifest, outputs=outputs)


def dynamic_shapes(frame: Mapping[int, str], tensors: Mapping[str, Tensor]) -> DynamicShapes:
    """Dynamic dimensions of a frame-in graph's inputs, for ``torch.onnx.export``."""
    if not tensors:
        return (dict(frame),)
    return (dict(frame), tuple({0: CLASSES} for _ in tensors))


def attach_defaults(model: ModelProto, tensors: Mapping[str, Tensor]) -> None:
    """Gives the inputs of an ONNX model that are class tensors their default values.

    Raises:
        ArgumentError: The graph has no such input: its result does not depend on the tensor.
    """
    from onnx import numpy_helper

    inputs = {value.name for value in model.graph.input}
    for name, tensor in tensors.items():
        if name not in inputs:
            raise ArgumentError(
                f"the exported graph does not use the class tensor {name!r}",
                remedy="leave it out of the network's class_prototypes",
            )
        array = numpy_helper.from_array(tensor.contiguous().numpy(), name)
        model.graph.initializer.append(array)


def class_files(network: nn.Module, manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """Files of a classifier's bundle with which classes can be enrolled.

    Args:
        network: The deployable network; see `NetworkWithClasses`.
        manifest: Its ``extra["classification"]`` is completed.

    Returns:
        The manifest and the files by name; nothing new where the classes are fixed.
    """
    tensors = class_tensors(network)
    if manifest.task != "classification" or not tensors:
        return manifest, {}
    with_classes = cast(NetworkWithClasses, network)
    features, owners = (value.detach().cpu() for value in with_classes.support_features())
    store = ClassStore(
        names=manifest.classes.names,
        trained=(True,) * len(manifest.classes),
        features=_array(features.float()),
        owners=owners.to(torch.int64).numpy(),
        digests=("",) * len(features),
        inputs={name: _array(tensor) for name, tensor in tensors.items()},
    )
    enroll = enroll_graph(with_classes.enroller, store, list(tensors))
    state = store.file_name()
    settings = {
        **manifest.extra.get("classification", {}),
        "enroll": ENROLL,
        "state": state,
        "inputs": list(tensors),
    }
    return (
        replace(manifest, extra={**manifest.extra, "classification": settings}),
        {ENROLL: enroll, state: store.to_bytes()},
    )


def enroll_graph(enroller: nn.Module, store: ClassStore, names: list[str]) -> bytes:
    """The ONNX file that computes class tensors from features and membership.

    Args:
        enroller: Takes ``[S,F]`` features and ``[S,K]`` membership, returns class tensors.
        store: Classes of the bundle; states F.
        names: Names of the class tensors; the enroller returns the first of them, or all.
    """
    sample = torch.rand(7, store.features.shape[1])
    membership = torch.zeros(7, 3)
    membership[torch.arange(7), torch.arange(7) % 3] = 1
    module = enroller.cpu().float().eval()
    with torch.no_grad():
        outputs = module(sample, membership)
    count = len(outputs) if isinstance(outputs, tuple) else 1
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (sample, membership),
            dynamo=True,
            opset_version=OPSET,
            input_names=["features", "membership"],
            output_names=names[:count],
            dynamic_shapes=({0: "photos"}, {0: "photos", 1: CLASSES}),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip_metadata(model)
    return bytes(model.SerializeToString())


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.contiguous().numpy()
    return array
