"""The optimiser, with learning rates by part of the network, and an encoder that waits.

optimizer = make_optimizer(network, RunConfig(encoder_lr=0.1, layer_decay=0.75))
set_rates(optimizer.param_groups, 1e-3)      # each group by its own factor
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trocar.contract.errors import ConfigError
from trocar.train.networks.segmentation import batch_norms
from trocar.train.state.settings import RunConfig

_ENCODERS = ("encoder", "backbone")


def make_optimizer(network: nn.Module, run: RunConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters that require gradients; norms and biases have no weight decay.

    Raises:
        ConfigError: See `parameter_groups`.
    """
    # Fused: one kernel for all tensors. Not with fp16, where the fused step would undo the scaling
    # of the gradients itself, so that they could not be clipped; None lets torch choose.
    return torch.optim.AdamW(
        parameter_groups(network, run),
        lr=run.lr,
        betas=(0.9, 0.999),
        fused=None if run.precision == "fp16" else True,
    )


def parameter_groups(network: nn.Module, run: RunConfig) -> list[dict[str, Any]]:
    """Groups for the optimiser: by weight decay, and by ``lr_scale``, the factor of the rate.

    Raises:
        ConfigError: A setting of the encoder is given, and the network has none; or layers decay
            and the encoder has no numbered layers.
    """
    scales = _scales(network, run)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for parameter in network.parameters():
        if parameter.requires_grad:
            key = (scales.get(parameter, 1.0), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": run.weight_decay if is_matrix else 0.0,
            **({} if scale == 1.0 else {"lr_scale": scale}),
        }
        for (scale, is_matrix), parameters in groups.items()
        if parameters or scale == 1.0
    ]


def set_rates(groups: Iterable[dict[str, Any]], rate: float) -> None:
    """Gives every group the learning rate of the step, times its own factor."""
    for group in groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def encoders_of(network: nn.Module) -> list[nn.Module]:
    """The encoders that are trained: modules of that name, or backbones; a teacher's is not.

    An encoder inside another one is a part of it and not listed.
    """
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for name, module in network.named_modules():
        if name.rpartition(".")[2] not in _ENCODERS or module in inside:
            continue
        inside |= set(module.modules())
        if any(parameter.requires_grad for parameter in module.parameters()):
            found.append(module)
    return found


class EncoderFreeze:
    """Keeps the encoders as they are for the first steps, batch normalisation included.

    Args:
        network: The network, before its parameters are wrapped.
        steps: Steps that the encoders wait; 0 for none.

    Raises:
        ConfigError: The network has no encoder.
    """

    def __init__(self, network: nn.Module, *, steps: int) -> None:
        self.steps = steps
        self.encoders = _encoders_or_refuse(network, f"freeze_encoder is {steps}") if steps else []
        self.parameters = [
            parameter
            for encoder in self.encoders
            for parameter in encoder.parameters()
            if parameter.requires_grad
        ]
        self.is_frozen = False

    def before_step(self, step: int, module: nn.Module) -> None:
        """Freezes or thaws as the step asks; the loss module is in training mode afterwards."""
        if step < self.steps:
            self._require_gradients(False)
            for encoder in self.encoders:
                for norm in batch_norms(encoder):
                    norm.eval()
        elif self.is_frozen:
            self._require_gradients(True)
            module.train()

    def _require_gradients(self, wanted: bool) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(wanted)
        self.is_frozen = not wanted


def match_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Gives loaded moments the memory layout of their parameters, which a fused step assumes."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def _scales(network: nn.Module, run: RunConfig) -> Mapping[nn.Parameter, float]:
    if run.encoder_lr == 1.0 and run.layer_decay == 1.0:
        return {}
    what = "encoder_lr" if run.encoder_lr != 1.0 else "layer_decay"
    scales: dict[nn.Parameter, float] = {}
    for encoder in _encoders_or_refuse(network, f"{what} is {getattr(run, what):g}"):
        depth = _depths(encoder) if run.layer_decay != 1.0 else {}
        for parameter in encoder.parameters():
            # A value that is a few digits long, so that equal groups stay equal in JSON.
            scale = run.encoder_lr * run.layer_decay ** depth.get(parameter, 0)
            scales[parameter] = float(f"{scale:.9g}")
    return scales


def _depths(encoder: nn.Module) -> Mapping[nn.Parameter, int]:
    """How many layers lie behind each parameter, by timm's own numbering: 0 for the last ones."""
    from timm.models import group_parameters

    for module in encoder.modules():
        matcher: Any = getattr(module, "group_matcher", None)
        if matcher is not None:
            layers = group_parameters(module, matcher(coarse=False), reverse=True)
            last = max(layers.values())
            named = dict(module.named_parameters())
            return {named[name]: last - layer for name, layer in layers.items()}
    raise ConfigError(
        "layer_decay was given, and this encoder has no numbered layers",
        remedy="use it with a plain ViT (--architecture dpt --encoder tu-vit_…); for other "
        "encoders pass --encoder-lr 0.1 instead",
    )


def _encoders_or_refuse(network: nn.Module, what: str) -> Sequence[nn.Module]:
    encoders = encoders_of(network)
    if not encoders:
        raise ConfigError(
            f"{what}, but this network has no encoder", remedy="leave that setting out"
        )
    return encoders
