"""The output of a PyTorch network of other origin: which tensor it is and what it means.

tensor = find_output({"main": torch.zeros(1, 3, 8, 8)}, "main")
form = probe_network(run, spec, classes=3, module="mypackage.nets:make")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trocar.contract.errors import ArgumentError
from trocar.contract.text.words import first_line
from trocar.export.graph.imported.output_form import (
    LABEL_LOGIT,
    MIN_PROBABILITY,
    OutputForm,
    classify_output,
)
from trocar.export.graph.input_spec import ModelSpec

USUAL = ("out", "logits")
"""Names of a mapping's entry with the logits, where the spec names none."""


def find_output(output: object, name: str, *, others: Sequence[str] = ()) -> Tensor:
    """The tensor that is named in what a network returned, or the only one there is.

    Args:
        output: A tensor, or a list, tuple, mapping or dataclass of tensors, also nested.
        name: A key, field or index, e.g. ``main``, ``-1`` or ``decode.logits``; empty for none.
        others: Names of outputs that are something else, e.g. the embedding.

    Raises:
        ArgumentError: There is none of that name, or none is named and there are several.
    """
    found = _entry(output, name, others) if name else _only(output, others)
    if found is not None:
        return found
    listed = "; ".join(
        f"{path}: {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for path, tensor in named_tensors(output)
    )
    what = f"has no output {name!r}" if name else "returns several outputs and none is named"
    if not listed:
        listed = f"a {type(output).__name__} without tensors"
    raise ArgumentError(
        f"the network {what}; it returns {listed}",
        remedy='name one of them in the input spec, e.g. output = "0" for the first',
    )


def named_tensors(output: object, path: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor in what a network returned, with the name that `find_output` takes."""
    if isinstance(output, Tensor):
        return [(path or "0", output)]
    start = f"{path}." if path else ""
    return [
        pair
        for key, value in _children(output).items()
        for pair in named_tensors(value, f"{start}{key}")
    ]


def to_logits(value: Tensor, form: OutputForm, classes: int) -> Tensor:
    """Logits ``[N,K,h,w]`` or scores ``[N,K]``; the same as `output_form.logits_of`."""
    if form.kind == "labels":
        if value.ndim == 4:
            value = value[..., 0] if form.channels_last else value[:, 0]
        hot = nn.functional.one_hot(value.long(), classes)
        return hot.movedim(-1, 1).float() * LABEL_LOGIT
    if form.channels_last:
        value = value.movedim(-1, 1)
    if form.kind == "one_logit":
        return torch.cat([torch.zeros_like(value), value], 1)
    if form.kind == "one_probability":
        value = torch.cat([1 - value, value], 1)
    if form.kind in ("probabilities", "one_probability"):
        value = value.clamp(min=MIN_PROBABILITY).log()
    return value


def probe_network(
    run: Callable[[Tensor], Tensor], spec: ModelSpec, *, classes: int, module: str
) -> OutputForm:
    """Runs a network on made-up images and tells what its output means.

    Args:
        run: From ``[N,3,h,w]`` float32 RGB 0..255 to the chosen output of the network.
        spec: Size and task.
        classes: Rows of the class table.
        module: The network's name, for errors.

    Raises:
        ArgumentError: The network fails, answers differently each time, depends on the batch, or
            its output does not fit the class table.
    """
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (2, 3, 8, 8)).astype(np.float32)
    images = nn.functional.interpolate(
        torch.from_numpy(coarse), size=(spec.height, spec.width), mode="bilinear"
    )
    first, again = run_network(run, images[:1], module), run_network(run, images[:1], module)
    if not torch.equal(first, again):
        difference = float((first.float() - again.float()).abs().max())
        raise ArgumentError(
            f"{module} answers differently each time: two results for one image differ by up to "
            f"{difference:.3g}",
            remedy="leave out what is random in evaluation mode, e.g. write "
            "dropout(x, p, self.training)",
        )
    value = torch.cat([first, run_network(run, images[1:], module)])
    if spec.task == "classification" and value.ndim > 2:
        value = value.flatten(1)
    return classify_output(
        value.numpy(), classes=classes, task=spec.task, name=f"the output of {module}"
    )


def run_network(run: Callable[[Tensor], Tensor], image: Tensor, module: str) -> Tensor:
    """Runs a network on an image.

    Raises:
        ArgumentError: The network refuses it, in its own words.
    """
    shape = list(image.shape)
    try:
        with torch.no_grad():
            return run(image)
    except ArgumentError:
        raise
    except TypeError as error:
        raise ArgumentError(
            f"{module} failed on an image {shape}: {first_line(error)}",
            remedy="write a module whose forward takes the image alone, and name its factory",
        ) from error
    except Exception as error:
        raise ArgumentError(
            f"{module} failed on an image {shape}: {first_line(error)}",
            remedy="correct the size of the input (in the input spec, or --size), or the network",
        ) from error


def _children(output: object) -> dict[str, object]:
    """The parts of a container by name; a list's are numbered."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if isinstance(output, (tuple, list)):
        fields = getattr(output, "_fields", None)
        return dict(zip(fields or map(str, range(len(output))), output, strict=True))
    return {}


def _entry(output: object, name: str, others: Sequence[str]) -> Tensor | None:
    if isinstance(output, Tensor):
        return output if name in ("0", "-1", *USUAL) else None
    children = _children(output)
    if name in children:
        return _only(children[name], others)
    if isinstance(output, (tuple, list)):
        try:
            index = int(name)
        except ValueError:
            index = None
        if index is not None:
            is_there = -len(output) <= index < len(output)
            return _only(output[index], others) if is_there else None
    head, _, rest = name.partition(".")
    return _entry(children[head], rest, others) if rest and head in children else None


def _only(output: object, others: Sequence[str]) -> Tensor | None:
    """The only tensor, or the one of a usual name; ``None`` where the choice is not clear."""
    if isinstance(output, Tensor):
        return output
    children = _children(output)
    usual = [children[key] for key in USUAL if isinstance(children.get(key), Tensor)]
    tensors = [tensor for path, tensor in named_tensors(output) if path not in others]
    for found in (usual, tensors):
        if len(found) == 1 and isinstance(found[0], Tensor):
            return found[0]
    return None
