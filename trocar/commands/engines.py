"""Look after a bundle's engines.

trocar engines prune model.trocar
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trocar.contract.engines import EngineSidecar


@click.group()
def engines() -> None:
    """Look after the TensorRT engines of a bundle."""


@engines.command("prune")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Take out every engine.")
@click.option("--device", default="cuda:0", show_default=True, help="GPU that engines must fit.")
def prune(model: Path, everything: bool, device: str) -> None:
    """Take the engines out of MODEL that do not fit this machine, and say why each goes."""
    from trocar.contract.bundle import open_bundle
    from trocar.contract.engines import engine_fitness, engines_of
    from trocar.export.tensorrt.bundle_engines import prune_engines
    from trocar.runtime.backends.engine_selection import environment_here
    from trocar.runtime.devices import device_from_text, require_cuda

    opened = open_bundle(model)
    if not everything:
        # Where there is no GPU nothing fits, which is no reason to throw engines away.
        require_cuda(device_from_text(device))

    def why_not(sidecar: EngineSidecar) -> list[str]:
        if everything:
            return ["every engine was to go"]
        here = environment_here(opened, flavour=sidecar.flavour, device=device)
        return engine_fitness(sidecar, here)

    reasons = {name: why_not(sidecar) for name, sidecar in engines_of(opened).items()}
    for name in prune_engines(model, keep=lambda sidecar: not why_not(sidecar)):
        click.echo(f"took out {name}: {'; '.join(reasons[name])}")
    for name, why in reasons.items():
        if not why:
            click.echo(f"kept {name}")
