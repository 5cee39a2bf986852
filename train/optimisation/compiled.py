"""Compiles the parts of a network that a step spends its time in, by torch.compile.

    compile_network(network, torch.device("cuda"))        # ["encoder", "aspp", "decoder"]

Modules are compiled in place: names of parameters, checkpoints and copies stay as they are. A
compiled module computes the same up to the rounding of fused operations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trocar.contract.errors import ConfigError
from trocar.contract.text.words import first_line

PARTS = ("encoder", "aspp", "decoder", "auxiliary", "backbone", "extractor")
"""Names under which networks hold what is worth compiling, wherever in the network they stand.

Of a list of modules with such a name each one is compiled.
"""

BACKEND = "inductor"
"""Compiler of torch.compile."""


def compile_network(network: nn.Module, device: torch.device) -> list[str]:
    """Compiles encoders, decoders and backbones in place; the first steps then take longer.

    Args:
        network: What the run trains, with its teacher or auxiliary decoders.
        device: Where it will run.

    Returns:
        Names of the compiled modules.

    Raises:
        ConfigError: torch.compile does not work here, or the network has no such part.
    """
    _probe(device)
    compiled: list[str] = []
    lists: list[str] = []
    for name, module in network.named_modules():
        above, _, last = name.rpartition(".")
        if any(name.startswith(f"{outer}.") for outer in compiled):
            continue
        if last in PARTS and isinstance(module, nn.ModuleList):
            lists.append(name)
        elif last in PARTS or above in lists:
            module.compile(backend=BACKEND)
            compiled.append(name)
    if not compiled:
        raise ConfigError(
            f"compile: {type(network).__name__} has none of the parts {', '.join(PARTS)}",
            remedy="drop --compile",
        )
    return compiled


def _probe(device: torch.device) -> None:
    """Compiles one operation, so that a missing compiler is an error before the first step."""
    try:
        torch.compile(_doubled, backend=BACKEND)(torch.ones(4, device=device))
    except Exception as error:
        # torch has no common class for what a compiler that is missing or broken raises.
        raise ConfigError(
            f"compile: torch.compile does not work here: {first_line(error)}",
            remedy="install a C++ compiler (Debian: g++), on a GPU also Triton, which torch's own "
            "CUDA wheels bring; or drop --compile",
        ) from error


def _doubled(value: Tensor) -> Tensor:
    return value * 2
