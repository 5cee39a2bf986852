"""Collect wheels for a machine without a network.

trocar wheelhouse wheels/ --extra cpu --python 3.11 --platform manylinux_2_28_x86_64
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--extra", multiple=True, metavar="NAME", help="Extra of Trocar, e.g. cpu; repeatable."
)
@click.option(
    "--python",
    metavar="X.Y",
    help="Python version of the target machine. [default: this one]",
)
@click.option(
    "--platform",
    multiple=True,
    metavar="TAG",
    help="Platform tag of the target machine; repeatable. [default: this machine]",
)
@click.option(
    "--constraint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the versions to take, e.g. constraints.txt.",
)
@click.option(
    "--trocar",
    "wheel",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Wheel of Trocar itself. [default: this version, from the package index]",
)
def wheelhouse(
    out: Path,
    extra: tuple[str, ...],
    python: str | None,
    platform: tuple[str, ...],
    constraint: Path | None,
    wheel: Path | None,
) -> None:
    """Collects in OUT the wheels of Trocar and of all that it requires, with their hashes.

    Copy OUT to the target machine and run there:

        pip install --no-index --find-links OUT --require-hashes -r OUT/requirements.txt

    Wheels for another machine are taken with --python and --platform, e.g.
    --platform manylinux_2_28_aarch64.
    """
    from trocar.wheelhouse import Target, collect

    made = collect(
        out,
        extras=extra,
        target=Target(python=python, platforms=platform),
        constraint=constraint,
        wheel=wheel,
    )
    size = sum(file.stat().st_size for file in made)
    click.echo(f"{out}: {len(made)} wheels, {size / 1e6:.0f} MB")
    click.echo(
        f"on the target machine: pip install --no-index --find-links {out.name} --require-hashes "
        f"-r {out.name}/requirements.txt"
    )
