"""Which form an instance model has: by the names, ranks and sizes of its outputs, or as named.

form = recognise(shapes, spec, classes=4, source="theirs.onnx")
form.name, form.roles["masks"].output
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms import (
    coefficients,
    crops,
    detections,
    prototypes,
    queries,
    torchvision,
)
from trocar.export.graph.instances.forms.base import Form, Roles, Shape, mask_stride, of_rank

FORMS: dict[str, Form] = {
    "queries": queries,
    "prototypes": prototypes,
    "coefficients": coefficients,
    "detections": detections,
    "crops": crops,
    "torchvision": torchvision,
}
"""Every form by its name, which is also the name of its module."""


@dataclass(frozen=True)
class Recognised:
    """The form of a file, and what its outputs are."""

    name: str
    form: Form
    roles: Roles


def recognise(
    shapes: Mapping[str, Shape], spec: ModelSpec, *, classes: int, source: str
) -> Recognised:
    """Finds the form that fits the outputs of a file.

    Args:
        shapes: Shapes of the outputs for one frame, batch first, by name.
        spec: Names the form, or leaves it open.
        classes: Rows of the class table.
        source: The file's name, for errors.

    Raises:
        ArgumentError: No form fits, or several.
        ConfigError: The spec names a form that there is not.
    """
    check_form(spec.form)
    names = [spec.form] if spec.form else list(FORMS)
    found = {
        name: roles
        for name in names
        if (roles := FORMS[name].find(shapes, spec, classes)) is not None
    }
    listed = "; ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    if len(found) == 1:
        name, roles = next(iter(found.items()))
        _check_stride(name, roles, spec, source)
        if name == "queries":
            _check_unused(roles, spec, classes, source)
        return Recognised(name, FORMS[name], roles)
    if found:
        raise ArgumentError(
            f"{source} returns {listed}, which fits several forms: {', '.join(found)}",
            remedy=f"name one with --form, e.g. --form {next(iter(found))}",
        )
    alike = [name for name in of_rank(shapes, 3) if shapes[name][2] == 4]
    if "queries" in names and len(alike) == 2 and classes in (4, 5) and of_rank(shapes, 4):
        raise ArgumentError(
            f"{source} returns {listed}: outputs {' and '.join(alike)} have the size of boxes and "
            f"of the logits of {classes - 1} classes, and their names do not say which is which",
            remedy="name the boxes so that it shows, e.g. dets or pred_boxes (a network of "
            'PyTorch: return a dictionary {"pred_boxes": ..., "pred_logits": ..., '
            '"pred_masks": ...})',
        )
    fault = f"does not fit the form {spec.form}"
    if not spec.form:
        fault = f"fits none of the forms {', '.join(FORMS)}"
    raise ArgumentError(
        f"{source} returns {listed}, which {fault} with {classes - 1} classes of instances",
        remedy="correct the class table (row 0 is no instance), or export the network with one of "
        "the outputs that docs/instances.md lists",
    )


def _check_stride(name: str, roles: Roles, spec: ModelSpec, source: str) -> None:
    """Refuses masks that do not cover the input at one stride, or at another one than stated.

    Raises:
        ArgumentError: With the sizes of masks and input.
    """
    if name == "crops":
        return  # These cover boxes.
    role = roles["prototypes" if "prototypes" in roles else "masks"]
    found, (height, width) = mask_stride(role.shape, spec), role.shape[-2:]
    masks = f"{source}: the masks of output {role.output} have {width}x{height} pixels"
    image = f"an input of {spec.width}x{spec.height}"
    if found is None:
        raise ArgumentError(
            f"{masks}, which is no stride of 1, 2, 4, 8, 16 or 32 of {image}",
            remedy="correct height and width in the input spec, or name another form with --form "
            "(crops: masks inside of boxes)",
        )
    if spec.mask_stride and found != spec.mask_stride:
        raise ArgumentError(
            f"{masks}: a stride of {found} of {image}, but the input spec states mask_stride = "
            f"{spec.mask_stride}",
            remedy="correct mask_stride, or height and width, in the input spec",
        )


def _check_unused(roles: Roles, spec: ModelSpec, classes: int, source: str) -> None:
    """Refuses one sigmoid more than classes where the spec does not say which one is unused.

    Raises:
        ArgumentError: With the number of sigmoids and classes.
    """
    logits = roles["logits"]
    count = logits.shape[2]
    softmax = queries.uses_softmax(count, "boxes" in roles, spec, classes)
    if count == classes and not softmax and not spec.unused:
        raise ArgumentError(
            f"{source}: output {logits.output} has {count} sigmoids for {classes - 1} classes of "
            "instances: the first or the last one belongs to no class",
            remedy='write unused = "last" into the input spec (RF-DETR trained on own classes, '
            'from 0), or unused = "first" (RF-DETR for COCO, classes from 1)',
        )


def check_form(name: str) -> None:
    """Refuses the name of a form that there is not.

    Raises:
        ConfigError: With the names that there are.
    """
    if name and name not in FORMS:
        raise ConfigError(
            f"there is no form {name!r} of instance models",
            remedy=f"name one of {', '.join(FORMS)}, or leave it out",
        )
