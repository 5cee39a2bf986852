"""What losses share between the processes of a run, so that they do not depend on their number.

    counted = mean_over_processes(weight.sum())      # divides a sum as one process would
    vectors = gathered(embeddings)                   # rows of all processes, with their gradient

Without a process group both return what they were given.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def processes() -> int:
    """Number of processes that train together, 1 without a process group."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a tensor over all processes; it has no gradient where there are several."""
    count = processes()
    if count == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / count


def gathered(rows: Tensor) -> Tensor:
    """Rows ``[B,...]`` of all processes in their order, ``[world*B,...]``.

    Gradients reach the rows of this process alone, multiplied by the number of processes: the
    gradients' mean over the processes, which DDP makes, is then that of one process with all rows,
    if every process computes the same loss.
    """
    count = processes()
    if count == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(count)]
    distributed.all_gather(parts, rows.detach().contiguous())
    own = rows
    if rows.requires_grad:
        # The value as it is, the gradient times the number of processes.
        own = rows.detach() + count * (rows - rows.detach())
    parts[distributed.get_rank()] = own
    return torch.cat(parts)
