"""The public functions: check the arguments, select the backend, compute.

    glcm_entropy(np.array([[[0, 0, 1, 1]]]), levels=2)  # [B]

NumPy arrays give NumPy arrays, in float64 and without importing torch, unless another backend than
the reference is named. Torch tensors give tensors on their device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from trocar.cuda_kernels import checks, numpy_path
from trocar.cuda_kernels.backends.base import HardPlan, SoftPlan
from trocar.cuda_kernels.backends.select import check_backend, select_backend
from trocar.cuda_kernels.offsets import DEFAULT_OFFSETS, check_offsets

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray[Any, Any], torch.Tensor)
else:
    Array = TypeVar("Array")


def glcm(
    labels: Array,
    *,
    levels: int,
    offsets: Sequence[Sequence[int]] = DEFAULT_OFFSETS,
    symmetric: bool = True,
    normalised: bool = True,
    ignore_index: int | None = None,
    backend: str | None = None,
    check: bool | None = None,
) -> Array:
    """Count the label pairs at each offset, per image.

    Args:
        labels: ``[B,H,W]`` integers, ``0..levels-1``.
        levels: Side of the matrices, 1 to 256.
        offsets: Pairs ``(dy, dx)``, rows down; pairs that leave the image are not counted.
        symmetric: Count every pair in both directions.
        normalised: Divide each matrix by its sum (a sum of 0 stays 0).
        ignore_index: Label of pixels that belong to no pair.
        backend: ``reference``, ``torch`` or ``cuda``; None selects by the device.
        check: Refuse labels outside ``0..levels-1``. None: on the CPU only, because a check on a
            GPU waits for the device. Unchecked labels outside the range belong to no pair.

    Returns:
        ``[B,O,levels,levels]``: int64, or floating if normalised (float32; float64 for NumPy).

    Raises:
        ArgumentError: An argument is invalid; the message says which and why.
        BackendError, MissingExtraError: The backend is not available here.
    """
    given: Any = labels
    plan = _hard_plan(given, levels, offsets, ignore_index, backend)
    finish: dict[str, Any] = {"symmetric": symmetric, "normalised": normalised}
    if _uses_numpy(given, backend):
        return cast(
            "Array", numpy_path.finalise(numpy_path.hard_counts(given, plan, check=check), **finish)
        )
    from trocar.cuda_kernels import torch_path

    tensor = _tensor(given)
    chosen = select_backend(backend, tensor.device)
    counts = torch_path.hard_counts(chosen, tensor, plan, check=check)
    return cast("Array", _like(given, torch_path.finalise(counts, **finish)))


def glcm_entropy(
    labels: Array,
    *,
    levels: int,
    offsets: Sequence[Sequence[int]] = DEFAULT_OFFSETS,
    symmetric: bool = True,
    normalised: bool = True,
    ignore_index: int | None = None,
    groups: Sequence[int] | None = None,
    backend: str | None = None,
    check: bool | None = None,
) -> Array:
    """Entropy of the co-occurrence matrix of each image, averaged over the offsets, in nats.

    Args:
        labels: ``[B,H,W]`` integers, ``0..levels-1``.
        levels: Number of labels, 1 to 256.
        offsets: Pairs ``(dy, dx)``, rows down.
        symmetric: Count every pair in both directions.
        normalised: Divide each matrix by its sum first; False leaves ``-sum G ln G``.
        ignore_index: Label of pixels that belong to no pair.
        groups: Grey value of every label; labels of equal value are merged. None: no merging.
        backend: ``reference``, ``torch`` or ``cuda``; None selects by the device.
        check: See ``glcm``.

    Returns:
        ``[B]``, from 0 to ``2 ln levels``; 0 for an image without pairs. float32 (float64 for
        NumPy).

    Raises:
        ArgumentError: An argument is invalid; the message says which and why.
        BackendError, MissingExtraError: The backend is not available here.
    """
    given: Any = labels
    plan = _hard_plan(given, levels, offsets, ignore_index, backend)
    merged_groups = checks.compact_groups(groups, plan.levels)
    if _uses_numpy(given, backend):
        return cast(
            "Array",
            numpy_path.entropy(
                numpy_path.hard_counts(given, plan, check=check),
                symmetric=symmetric,
                normalised=normalised,
                groups=merged_groups,
            ),
        )
    from trocar.cuda_kernels import torch_path

    tensor = _tensor(given)
    chosen = select_backend(backend, tensor.device)
    counts = torch_path.hard_counts(chosen, tensor, plan, check=check)
    result = torch_path.entropy(
        chosen, counts, symmetric=symmetric, normalised=normalised, groups=merged_groups
    )
    return cast("Array", _like(given, result))


def soft_glcm(
    x: Array,
    *,
    from_logits: bool,
    offsets: Sequence[Sequence[int]] = DEFAULT_OFFSETS,
    symmetric: bool = True,
    normalised: bool = True,
    mode: str = "soft",
    valid: Array | None = None,
    backend: str | None = None,
    check: bool | None = None,
) -> Array:
    """Co-occurrence of class probabilities, ``sum over x of p(x) p(x + d)^T``, differentiable.

    Args:
        x: ``[B,C,H,W]`` probabilities or logits, C up to 64.
        from_logits: Take the softmax over the classes first.
        offsets: Pairs ``(dy, dx)``, rows down.
        symmetric: Add the transpose.
        normalised: Divide each matrix by its sum (a sum of 0 stays 0).
        mode: ``soft``; ``straight_through`` has the value of one-hot(argmax), and its gradient
            ignores the arg-max; ``hard`` has the same value and no gradient.
        valid: ``[B,H,W]`` bool; other pixels belong to no pair. None: all are valid.
        backend: ``reference``, ``torch``, ``cuda`` or ``cuda-tensor``, which rounds to TF32; None
            selects by the device.
        check: Refuse NaN. None: on the CPU only, because a check on a GPU waits for the device.

    Returns:
        ``[B,O,C,C]``, float64 for float64 and for NumPy, else float32, even under autocast.

    Raises:
        ArgumentError: An argument is invalid; the message says which and why.
        BackendError, MissingExtraError: The backend is not available here.
    """
    given: Any = x
    mask: Any = valid
    plan = _soft_plan(given, from_logits, offsets, mode, mask, backend)
    finish: dict[str, Any] = {"symmetric": symmetric, "normalised": normalised}
    if _uses_numpy(given, backend):
        return cast(
            "Array",
            numpy_path.finalise(numpy_path.soft_counts(given, mask, plan, check=check), **finish),
        )
    from trocar.cuda_kernels import torch_path

    tensor = _tensor(given.detach() if mode == "hard" and hasattr(given, "detach") else given)
    chosen = select_backend(backend, tensor.device)
    counts = torch_path.soft_counts(chosen, tensor, _mask(mask), plan, check=check)
    return cast("Array", _like(given, torch_path.finalise(counts, **finish)))


def soft_glcm_entropy(
    x: Array,
    *,
    from_logits: bool,
    mode: str = "straight_through",
    offsets: Sequence[Sequence[int]] = DEFAULT_OFFSETS,
    valid: Array | None = None,
    symmetric: bool = True,
    groups: Sequence[int] | None = None,
    backend: str | None = None,
    check: bool | None = None,
) -> Array:
    """Entropy of the co-occurrence of a prediction, averaged over the offsets, in nats.

    Args:
        x: ``[B,C,H,W]`` probabilities or logits, C up to 64.
        from_logits: Take the softmax over the classes first.
        mode: ``straight_through``: the entropy of the arg-max labels, with the gradient of the
            soft entropy at that point; ``soft``: the entropy of the probabilities; ``hard``: the
            entropy of the arg-max labels, without gradient.
        offsets: Pairs ``(dy, dx)``, rows down.
        valid: ``[B,H,W]`` bool; other pixels belong to no pair. None: all are valid.
        symmetric: Count every pair in both directions.
        groups: Grey value of every class; classes of equal value are merged. None: no merging.
        backend: ``reference``, ``torch``, ``cuda`` or ``cuda-tensor``, which rounds to TF32; None
            selects by the device.
        check: See ``soft_glcm``.

    Returns:
        ``[B]``, from 0 to ``2 ln C``; 0 without gradient for an image without valid pairs.
        float64 for float64 and for NumPy, else float32, even under autocast.

    Raises:
        ArgumentError: An argument is invalid; the message says which and why.
        BackendError, MissingExtraError: The backend is not available here.
    """
    given: Any = x
    mask: Any = valid
    plan = _soft_plan(given, from_logits, offsets, mode, mask, backend)
    merged_groups = checks.compact_groups(groups, given.shape[1])
    finish: dict[str, Any] = {"symmetric": symmetric, "normalised": True, "groups": merged_groups}
    if _uses_numpy(given, backend):
        return cast(
            "Array",
            numpy_path.entropy(numpy_path.soft_counts(given, mask, plan, check=check), **finish),
        )
    from trocar.cuda_kernels import torch_path

    tensor = _tensor(given.detach() if mode == "hard" and hasattr(given, "detach") else given)
    chosen = select_backend(backend, tensor.device)
    counts = torch_path.soft_counts(chosen, tensor, _mask(mask), plan, check=check)
    return cast("Array", _like(given, torch_path.entropy(chosen, counts, **finish)))


def _hard_plan(
    labels: Any, levels: int, offsets: Any, ignore_index: int | None, backend: str | None
) -> HardPlan:
    check_backend(backend)
    checks.check_labels(labels)
    side = checks.check_side("levels", levels, limit=checks.MAX_LEVELS)
    return HardPlan(check_offsets(offsets), side, ignore_index)


def _soft_plan(
    x: Any, from_logits: bool, offsets: Any, mode: str, valid: Any, backend: str | None
) -> SoftPlan:
    check_backend(backend)
    checks.check_scores(x)
    checks.check_mode(mode)
    checks.check_valid(x, valid)
    return SoftPlan(check_offsets(offsets), from_logits, one_hot=mode != "soft")


def _uses_numpy(array: Any, backend: str | None) -> bool:
    return isinstance(array, np.ndarray) and backend in (None, "reference")


def _tensor(array: Any) -> torch.Tensor:
    import torch

    # A copy, because torch accepts neither negative strides nor read-only arrays.
    return torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray) else array


def _mask(valid: Any) -> torch.Tensor | None:
    return None if valid is None else _tensor(valid)


def _like(given: Any, result: torch.Tensor) -> Any:
    return result.detach().cpu().numpy() if isinstance(given, np.ndarray) else result
