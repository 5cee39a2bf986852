"""Devices, processes and precision through Lightning Fabric, exactly as they were asked for.

fabric = make_fabric(RunConfig(device="cpu"))
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from trocar.contract.errors import BackendError, ConfigError
from trocar.train.state.settings import RunConfig

_WITH_SCALER: dict[str, Any] = {"fp16": "16-mixed"}
"""Precisions of Fabric. Others need no scaling of the loss; bf16 is autocast in the losses, because
it may be chosen only when the network is known."""


def make_fabric(run: RunConfig) -> Any:
    """Makes and launches Fabric; under torchrun or SLURM it joins their processes.

    Raises:
        BackendError: The device or precision that was asked for is not available.
        ConfigError: The batch cannot be divided among the processes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    device = run.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", run.devices))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", run.nodes))
    _check(run, device, per_node, nodes)
    world = per_node * nodes
    fabric = Fabric(
        accelerator=device,
        devices=per_node,
        num_nodes=nodes,
        # A method may leave parts unused for a while (auxiliary decoders in the first phase).
        strategy=DDPStrategy(find_unused_parameters=True) if world > 1 else "auto",
        precision=_WITH_SCALER.get(run.precision, "32-true"),
    )
    fabric.launch()
    return fabric


def _check(run: RunConfig, device: str, per_node: int, nodes: int) -> None:
    if device == "cuda":
        available = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if available < per_node:
            raise BackendError(
                f"{per_node} CUDA devices were asked for, {available} are usable here",
                remedy="lower --devices, or pass --device cpu",
            )
    if device == "cpu" and run.precision == "fp16":
        raise BackendError(
            "fp16 training was asked for on the CPU, which has no loss scaling for it",
            remedy="pass --precision bf16 or fp32",
        )
    if run.batch_size % (per_node * nodes):
        raise ConfigError(
            f"batch_size is {run.batch_size} over all processes, and {per_node * nodes} processes "
            "cannot share it evenly",
            remedy=f"choose a multiple of {per_node * nodes}",
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU allocator raises a plain RuntimeError: nothing but its text tells it apart.
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "out of memory" in text
    )


def mean_over_ranks(fabric: Any, value: Tensor) -> Tensor:
    """The mean of a scalar, or of each number of a vector, over all processes."""
    if fabric.world_size == 1:
        return value
    reduced: Tensor = fabric.all_reduce(value, reduce_op="mean")
    return reduced
