"""Networks whose number of classes is in their weights.

network = load_counted(build, state, path=Path("best.pth"), classes=3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from trocar.contract.errors import CheckpointError
from trocar.export.graph.imported.checkpoint import fitted_state, load_state


def load_counted(
    build: Callable[[int], nn.Module],
    state: Mapping[str, Tensor],
    *,
    path: Path,
    classes: int,
    heads: Sequence[str] = (),
) -> nn.Module:
    """Builds a network for the classes of a table and loads its weights.

    Args:
        build: From the number of output channels to a network with random weights.
        state: The tensors of the checkpoint.
        path: The checkpoint, for errors.
        classes: Rows of the class table.
        heads: Modules beside the main output that are left off, e.g. ``aux_classifier``.

    Returns:
        The network. It has one channel if the weights have one and the table has two classes.

    Raises:
        CheckpointError: The weights are of another number of classes, or of another network.
    """
    network = build(classes)
    own = network.state_dict()
    kept = fitted_state(without_heads(state, heads), set(own), path)
    found = {
        kept[name].shape[0]
        for name, tensor in own.items()
        if name in kept
        and tensor.ndim > 0
        and kept[name].ndim == tensor.ndim
        and kept[name].shape != tensor.shape
        and tensor.shape[0] == classes
        and kept[name].shape[1:] == tensor.shape[1:]
    }
    if len(found) == 1:
        count = found.pop()
        if (count, classes) != (1, 2):
            channels = "1 channel" if count == 1 else f"{count} classes"
            raise CheckpointError(
                f"{path} holds the weights of {channels}; the class table has {classes} classes",
                remedy="pass the class table that it was trained with, --classes FILE"
                + (" (one channel stands for two classes)" if count == 1 else ""),
            )
        network = build(1)
    load_state(network, kept, path)
    return network.eval()


def without_heads(state: Mapping[str, Tensor], heads: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint without those of some modules, whatever prefix they have."""
    return {
        name: value
        for name, value in state.items()
        if not any(name.startswith(f"{head}.") or f".{head}." in name for head in heads)
    }
