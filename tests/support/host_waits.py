"""Counts how often the host would wait for a GPU, by watching a computation on the CPU.

    waits = HostWaits(); waits.place(batch, network.parameters())
    with waits: train_step(…)
    waits.found                        # ["train/loop.py:201 _local_scalar_dense", …]

A tensor is "on the device" if it was placed there, was made with ``device=``, or was computed from
such a tensor. What then reads it to the host, or copies something of the host to it, waits:
scalars, ``cpu``, ``numpy``, ``tolist``, ``nonzero``, indices that are bool or of the host,
``unique``, ``bincount``, ``torch.tensor(…, device=…)``, and copies that do not say
``non_blocking``.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from places import ROOT
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = {
    "_local_scalar_dense", "nonzero", "nonzero_static", "masked_select", "_unique2", "_unique",
    "unique_dim", "unique_consecutive", "bincount", "equal", "histc", "linalg_inv_ex",
}  # fmt: skip
"""Operators whose result or whose size the host reads on a GPU."""
TO_HOST = {"cpu", "numpy", "tolist", "__array__", "__dlpack__"}
FROM_HOST = {"tensor", "as_tensor", "new_tensor", "asarray", "from_numpy"}
# On a CPU these look at values, on a GPU they do not.
QUIET = {"one_hot"}


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


class HostWaits:
    """See the module.

    Attributes:
        found: File, line and operator of each wait.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self.is_quiet = 0
        # Storages are kept, so that no other tensor gets the address of one that was freed.
        self._places: dict[int, Any] = {}
        self._modes = (_Functions(self), _Operators(self))

    def place(self, *values: Any) -> None:
        """Puts tensors, also in lists and dictionaries, on the device."""
        for value in values:
            for tensor in _tensors(value):
                storage = tensor.untyped_storage()
                if storage.nbytes():
                    self._places[storage.data_ptr()] = storage

    def holds(self, *values: Any) -> bool:
        """Whether any tensor among the values is on the device."""
        return any(
            tensor.untyped_storage().data_ptr() in self._places
            for value in values
            for tensor in _tensors(value)
            if not torch._C._functorch.is_batchedtensor(tensor)
        )

    def add(self, what: str) -> None:
        """Counts a wait, with the line of this project that it comes from."""
        own = [
            frame
            for frame in traceback.extract_stack()
            if Path(frame.filename).is_relative_to(ROOT) and Path(frame.filename) != Path(__file__)
            and ".venv" not in frame.filename
        ]  # fmt: skip
        line = own[-1] if own else None
        place = f"{Path(line.filename).relative_to(ROOT)}:{line.lineno}" if line else "elsewhere"
        self.found.append(f"{place} {what}")

    def __enter__(self) -> HostWaits:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Functions(TorchFunctionMode):
    """What is written in Python: where a tensor is made, and where it is read."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, waits = kwargs or {}, self.waits
        name = getattr(func, "__name__", "")
        is_held = waits.holds(args, kwargs)
        if name in TO_HOST and is_held:
            waits.add(name)
        named = kwargs.get("device") is not None
        moved = name == "to" and not waits.holds(args[:1]) and (
            named or waits.holds(args[1:]) or any(isinstance(a, torch.device) for a in args[1:])
        )  # fmt: skip
        made = name in FROM_HOST and (named or (name == "new_tensor" and is_held))
        if (moved and not kwargs.get("non_blocking")) or made:
            waits.add(f"{name} from the host")
        waits.is_quiet += name in (QUIET | TO_HOST)
        try:
            result = func(*args, **kwargs)
            if name == "cpu" and is_held:
                result = result.clone()
        finally:
            waits.is_quiet -= name in (QUIET | TO_HOST)
        if moved or made or named or (name in QUIET and is_held):
            waits.place(result)
        return result


class _Operators(TorchDispatchMode):
    """What is computed, below autograd: also in backward passes and inside of torch."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, waits = kwargs or {}, self.waits
        name = func.overloadpacket.__name__
        is_held = waits.holds(args, kwargs)
        if is_held and not waits.is_quiet:
            if name in READS or (name == "repeat_interleave" and "Tensor" in func._overloadname):
                waits.add(name)
            elif name == "index" or name.startswith(("index_put", "_unsafe_index")):
                self._check_index(name, args)
            elif name == "copy_" and args[1].ndim and not waits.holds(args[1]):
                waits.add("copy_ from the host")
        result = func(*args, **kwargs)
        if is_held and not waits.is_quiet:
            waits.place(result)
        return result

    def _check_index(self, name: str, args: Any) -> None:
        indices = [index for index in args[1] if index is not None]
        # A single value is filled into a mask without a look at it.
        filled = "put" in name and args[2].numel() == 1
        if any(i.dtype in (torch.bool, torch.uint8) for i in indices) and not filled:
            self.waits.add(f"{name} by a mask")
        elif any(i.ndim and not self.waits.holds(i) for i in indices):
            self.waits.add(f"{name} by an index of the host")
