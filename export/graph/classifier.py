"""Classifier graphs whose classes are inputs with defaults, and what enrolment needs beside them.

    tensors = class_tensors(network)                    # each becomes an input of the graph
    attach_defaults(model, tensors)                     # the frame alone suffices again
    manifest, files = class_files(network, manifest)    # enroll.onnx, classes-….npz

An ONNX initializer that is listed among the inputs too is a default that a caller may override: so
every runtime that knows nothing of classes sees a graph that takes frames, and ONNX Runtime can be
given other classes without a new export.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trocar.contract.class_store import ENROLL, ClassStore
from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = "classes"
"""Name of the dynamic dimension of the class tensors."""


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


def dynamic_shapes(frame: Mapping[int, str], tensors: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """Dynamic dimensions of a frame-in graph's inputs, for ``torch.onnx.export``."""
    shapes = (dict(frame),)
    return (*shapes, tuple({0: CLASSES} for _ in tensors)) if tensors else shapes


def attach_defaults(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Gives the inputs of an ONNX model that are class tensors their defaults.

    Raises:
        ArgumentError: The graph lost an input: its result does not depend on that tensor.
    """
    from onnx import numpy_helper

    there = {value.name for value in model.graph.input}
    for name, tensor in tensors.items():
        if name not in there:
            raise ArgumentError(
                f"the exported graph does not use the class tensor {name!r}",
                remedy="leave it out of the network's class_prototypes",
            )
        array = numpy_helper.from_array(tensor.contiguous().numpy(), name)
        model.graph.initializer.append(array)


def class_files(network: nn.Module, manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """What a classifier's bundle holds beside its graph so that classes can be enrolled.

    Args:
        network: The deployable network; see `PrototypeModel` in trocar/train/networks.
        manifest: Its ``extra["classification"]`` is completed.

    Returns:
        The manifest and the files by name; nothing new where the classes are fixed.
    """
    tensors = class_tensors(network)
    if manifest.task != "classification" or not tensors:
        return manifest, {}
    comparing: Any = network
    features, owners = (value.detach().cpu() for value in comparing.support_features())
    store = ClassStore(
        names=manifest.classes.names,
        trained=(True,) * len(manifest.classes),
        features=_array(features.float()),
        owners=owners.to(torch.int64).numpy(),
        digests=("",) * len(features),
        inputs={name: _array(tensor) for name, tensor in tensors.items()},
    )
    enroll = enroll_graph(comparing.enroller, store, list(tensors))
    state = store.file_name()
    about = {
        **manifest.extra.get("classification", {}),
        "enroll": ENROLL,
        "state": state,
        "inputs": list(tensors),
    }
    return (
        replace(manifest, extra={**manifest.extra, "classification": about}),
        {ENROLL: enroll, state: store.to_bytes()},
    )


def enroll_graph(enroller: nn.Module, store: ClassStore, names: list[str]) -> bytes:
    """The ONNX file that makes class tensors from features and membership.

    Args:
        enroller: ``[S,F]`` and ``[S,K]`` to tensors.
        store: For the sizes of a sample.
        names: Names of the class tensors; the enroller gives the first of them, or all.
    """
    from trocar.export.graph.model_file import OPSET, _quiet, _strip

    sample = torch.rand(7, store.features.shape[1])
    membership = torch.zeros(7, 3)
    membership[torch.arange(7), torch.arange(7) % 3] = 1
    module = enroller.cpu().float().eval()
    with torch.no_grad():
        given = module(sample, membership)
    count = len(given) if isinstance(given, tuple) else 1
    with _quiet(), torch.no_grad():
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
    _strip(model)
    buffer = io.BytesIO(model.SerializeToString())
    return buffer.getvalue()


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.contiguous().numpy()
    return array
