"""Remove TensorRT engines from a bundle.

trocar engines prune model.trocar
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trocar.commands._help import GroupedCommand

if TYPE_CHECKING:
    from trocar.contract.tensorrt.engines import EngineSidecar


@click.group()
def engines() -> None:
    """Remove TensorRT engines from a bundle."""


@engines.command("prune", cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Remove every engine.")
@click.option("--device", default="cuda:0", help="GPU that the engines must fit.")
def prune(model: Path, everything: bool, device: str) -> None:
    """Remove the engines of MODEL that do not fit this machine, and print the reasons."""
    from trocar.contract.bundle import open_bundle
    from trocar.contract.tensorrt.engines import engine_fitness, engines_of
    from trocar.export.tensorrt.bundle_engines import prune_engines
    from trocar.runtime.backends.engine_selection import environment_here
    from trocar.runtime.devices import device_from_text, require_cuda

    bundle = open_bundle(model)
    if not everything:
        # Without a GPU no engine fits, which is no reason to remove them.
        require_cuda(device_from_text(device))

    def reasons_to_remove(sidecar: EngineSidecar) -> list[str]:
        if everything:
            return ["--all was given"]
        here = environment_here(bundle, flavour=sidecar.flavour, device=device)
        return engine_fitness(sidecar, here)

    reasons = {name: reasons_to_remove(sidecar) for name, sidecar in engines_of(bundle).items()}
    for name in prune_engines(model, keep=lambda sidecar: not reasons_to_remove(sidecar)):
        click.echo(f"removed {name}: {'; '.join(reasons[name])}")
    for name, why in reasons.items():
        if not why:
            click.echo(f"kept {name}")
