"""Constants on the device of a computation, copied there once.

    weights = constant((0.299, 0.587, 0.114), like=image)

``torch.tensor(values, device=…)`` waits for the GPU at every call, as does every copy from memory
that is not pinned. A step that makes its constants anew would wait as often as it has constants.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def constant(values: tuple[Any, ...], *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of given numbers on the device of another one; nobody may change it in place.

    Args:
        values: Numbers, or tuples of them.
        like: Gives the device, and the type where ``dtype`` is ``None``.
        dtype: The type.
    """
    return _copied(values, like.dtype if dtype is None else dtype, like.device)


@functools.lru_cache(maxsize=256)
def _copied(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
