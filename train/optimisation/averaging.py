"""Averaged weights: an exponential moving average (EMA) of what is trained, for every method.

    average = make_average(network, decay=0.999)
    average.update(network, step=1)
    with averaged(network, average): network.eval()

The average is timm's `ModelEmaV3`, whose decay rises over the first steps. Validation, the best
checkpoint and the exported network use it; training goes on with the plain weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trocar.contract.errors import ConfigError
from trocar.train.networks.mean_teacher_pair import StudentTeacher


def make_average(network: nn.Module, *, decay: float) -> Any:
    """Timm's average of the network, or ``None`` where the decay is 0.

    Raises:
        ConfigError: The network has a mean teacher, which is an average already.
    """
    if not decay:
        return None
    if any(isinstance(module, StudentTeacher) for module in network.modules()):
        raise ConfigError(
            f"ema is {decay:g}, but the teacher of this method is an average of the weights "
            "already, and it is what is validated and exported",
            remedy="drop --ema; --ema-decay sets the average of the teacher",
        )
    from timm.utils.model_ema import ModelEmaV3

    return ModelEmaV3(network, decay=decay, use_warmup=True)


@contextmanager
def averaged(network: nn.Module, average: Any) -> Iterator[None]:
    """Gives the network its averaged weights, and puts the plain ones back afterwards."""
    if average is None:
        yield
        return
    plain = {name: value.detach().clone() for name, value in network.state_dict().items()}
    _copy(network, average.module.state_dict())
    try:
        yield
    finally:
        _copy(network, plain)


@torch.no_grad()
def _copy(network: nn.Module, values: dict[str, Any]) -> None:
    for name, value in network.state_dict().items():
        value.copy_(values[name])
