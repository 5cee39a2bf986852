"""Brings an ONNX file of other origin into one form: float32 image in, float32 logits out.

    network = canonical_network(data, external, source="theirs.onnx", images=images)
    network.data                                 # ONNX: [N,3,h,w] float32 -> logits, scores
    network.original(images[0])["logits"]        # the same from the file as it was given

The file is run first; what its outputs mean follows from their types, shapes, values and nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.text.words import first_line
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.from_onnx import with_current_opset
from trocar.export.graph.imported.canonical_nodes import (
    append_output,
    expose_argmax_input,
    free_batch,
    prepend_input,
    value_ops,
)
from trocar.export.graph.imported.onnx_input import InputForm, input_form, prepare_image
from trocar.export.graph.imported.onnx_source import open_original, simplified, stated_precision
from trocar.export.graph.imported.output_form import OutputForm, classify_output, logits_of
from trocar.export.graph.input_spec import ExternalModel, ModelSpec
from trocar.export.graph.model_file import load

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MAX_PROBES = 4
"""Images on which the file is run to see what its outputs mean."""

_TOLERANCES = {"fp32": 1e-3}
_COARSE = 2e-2
"""Largest difference of logits, relative to their range, between the file and its new form."""


@dataclass(frozen=True)
class CanonicalNetwork:
    """A file in the form that pre- and postprocessing are attached to.

    Attributes:
        data: ONNX file from ``[N,3,h,w]`` float32 to logits (classifiers: scores, embedding).
        external: The input spec and manifest that describe ``data``.
        form: What the file's own output means.
        original: Runs the file as it was given on one prepared image; values as ``data`` gives.
    """

    data: bytes
    external: ExternalModel
    form: OutputForm
    original: _Original

    @property
    def rounding(self) -> str:
        """Precision whose limits hold for the file: a uint8 image is rounded as float16 is."""
        precision = self.external.manifest.precision
        is_uint8 = self.original.input.type == "uint8"
        return "fp16" if precision == "fp32" and is_uint8 else precision


@dataclass(frozen=True)
class _Original:
    session: InferenceSession
    input: InputForm
    names: tuple[str, ...]
    form: OutputForm
    classes: int

    def __call__(self, image: NDArray[np.float32]) -> list[NDArray[Any]]:
        values = self.session.run(list(self.names), {self.input.name: self.input.feed(image)})
        first = _flat(values[0], self.form)
        return [logits_of(first, self.form, classes=self.classes), *map(_rows, values[1:])]


def canonical_network(
    data: bytes, external: ExternalModel, *, source: str, images: Sequence[NDArray[np.uint8]] = ()
) -> CanonicalNetwork:
    """Looks at a file's inputs and outputs, on real images, and gives it one form.

    Args:
        data: The file, with its weights.
        external: Its input spec and class table.
        source: Its name, for errors.
        images: Frames ``[H,W,3]`` uint8 RGB.

    Raises:
        BundleError: It is no valid ONNX file.
        ArgumentError: An input or output is ambiguous or does not fit; the names to choose from
            are in the message.
    """
    spec = external.spec
    given = load(data, source=source)
    feed = input_form(given, spec, source=source)
    if feed.batch > 1:
        raise ArgumentError(
            f"{source} is made for batches of {feed.batch} only",
            remedy='export it with a dynamic batch, e.g. dynamic_shapes=({0: "batch"},)',
        )
    prepared = [prepare_image(image, spec) for image in images[:MAX_PROBES]] or [noise_image(spec)]
    exposed = expose_argmax_input(given, spec.output) if spec.task == "segmentation" else None
    session = open_original(given.SerializeToString() if exposed else data, source=source)
    outputs = _run(session, feed, prepared, source)
    chosen = exposed or choose_output(outputs, spec, source=source)
    classes = len(external.manifest.classes)
    form = classify_output(
        _squeezed(outputs[chosen], spec),
        classes=classes,
        task=spec.task,
        name=f"{source}: output {chosen}",
        ops=value_ops(given, chosen),
    )
    names = (chosen, *([spec.embedding] if spec.embedding else []))
    original = _Original(session, feed, names, form, classes)
    model = with_current_opset(simplified(load(data, source=source)), source)
    if exposed:
        expose_argmax_input(model, spec.output)
    if feed.batch:
        free_batch(model)
    prepend_input(model, feed, (spec.height, spec.width))
    first = original(prepared[0])
    renamed = append_output(model, names, form, [value.shape for value in first], classes)
    result = model.SerializeToString()
    precision = stated_precision(given)
    tolerance = _TOLERANCES.get(precision, _COARSE)
    _check_same(result, prepared, original, spec=spec, source=source, tolerance=tolerance)
    about = {} if form == OutputForm() else {"output": form.kind}
    manifest = replace(
        external.manifest, precision=precision, source={**external.manifest.source, **about}
    )
    canonical = replace(spec, output=renamed[0], embedding=renamed[1] if spec.embedding else "")
    return CanonicalNetwork(result, ExternalModel(canonical, manifest), form, original)


def choose_output(outputs: Mapping[str, NDArray[Any]], spec: ModelSpec, *, source: str) -> str:
    """The output with the logits or scores: the one that is named, or the only one there is.

    Raises:
        ArgumentError: There are several, or none of that name.
    """
    names = list(outputs)
    listed = "; ".join(
        f"{index}: {name} {value.dtype} {list(value.shape)}"
        for index, (name, value) in enumerate(outputs.items())
    )
    wanted = [name for name in (spec.output, spec.embedding) if name]
    missing = [name for name in wanted if name not in outputs]
    if missing:
        raise ArgumentError(
            f"{source} has no output {', '.join(missing)}; it has {listed}",
            remedy="correct output and embedding in the input spec",
        )
    if spec.output:
        return spec.output
    rest = [name for name in names if name != spec.embedding]
    if spec.task == "segmentation" and len(rest) > 1:
        rest = [name for name in rest if outputs[name].ndim >= 3]
    if len(rest) == 1:
        return rest[0]
    raise ArgumentError(
        f"{source} has {len(rest)} outputs that could be the result: {listed}",
        remedy=f'name one in the input spec, e.g. output = "{rest[-1] if rest else names[-1]}"',
    )


def _run(
    session: InferenceSession, feed: InputForm, images: list[NDArray[np.float32]], source: str
) -> dict[str, NDArray[Any]]:
    """Every output for the images, one after another, joined to a batch."""
    names = [output.name for output in session.get_outputs()]
    try:
        results = [session.run(names, {feed.name: feed.feed(image)}) for image in images]
    except Exception as error:
        raise ArgumentError(
            f"{source} fails on an image {list(images[0].shape)}: {first_line(error, limit=300)}",
            remedy="correct height and width in the input spec, or export the network again",
        ) from error
    return {
        name: np.concatenate([np.atleast_1d(result[index]) for result in results])
        for index, name in enumerate(names)
    }


def _check_same(
    data: bytes,
    images: list[NDArray[np.float32]],
    original: _Original,
    *,
    spec: ModelSpec,
    source: str,
    tolerance: float,
) -> None:
    """Compares the new form, on a batch of two, with the file as it was given."""
    pair = [images[0], noise_image(spec)]
    wanted = [np.concatenate(values) for values in zip(*map(original, pair), strict=True)]
    try:
        session = open_cpu_session(data)
        found = session.run(None, {session.get_inputs()[0].name: np.concatenate(pair)})
        worst = max(
            float(np.abs(a - b).max() / max(1e-6, float(np.ptp(b))))
            for a, b in zip(found, wanted, strict=True)
        )
        if worst <= tolerance:
            return
        what = f"its values for two images differ by {worst:.1%} of their range"
    except Exception as error:
        what = first_line(error, limit=200).rpartition(" : ")[2]
    if original.input.batch:
        raise ArgumentError(
            f"{source} is made for batches of 1 only, and a larger batch changes it: {what}",
            remedy='export it with a dynamic batch, e.g. dynamic_shapes=({0: "batch"},)',
        )
    raise ArgumentError(
        f"{source} cannot be brought to the current operator set and batches of two without a "
        f"change of its results: {what}",
        remedy="export it again with operator set 18 or later and a dynamic batch",
    )


def _squeezed(value: NDArray[Any], spec: ModelSpec) -> NDArray[Any]:
    """Classifiers' scores ``[N,K,1,1]`` as ``[N,K]``."""
    is_flat = (
        spec.task == "classification"
        and value.ndim > 2
        and value.size == len(value) * max(value.shape[1:])
    )
    return value.reshape(len(value), -1) if is_flat else value


def _flat(value: NDArray[Any], form: OutputForm) -> NDArray[Any]:
    is_flat = value.ndim == 4 and value.shape[2:] == (1, 1) and form.kind != "labels"
    return value.reshape(len(value), -1) if is_flat else value


def _rows(value: NDArray[Any]) -> NDArray[np.float32]:
    return value.reshape(len(value), -1).astype(np.float32)


def noise_image(spec: ModelSpec) -> NDArray[np.float32]:
    """An image of coloured noise, for a file that is looked at without frames."""
    frame = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3))
    return prepare_image(frame.astype(np.uint8), spec)
