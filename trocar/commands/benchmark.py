"""Time every backend and precision on this machine.

trocar benchmark model.trocar --size 1920x1080
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from trocar.commands._help import GroupedCommand
from trocar.commands._trust import trust_option
from trocar.commands._types import SizeType


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--size", type=SizeType(), help="Frame size. [default: the golden frame's]")
@click.option("--seconds", type=float, default=3.0, help="Seconds for each row.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: all cores]")
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
def benchmark(
    model: Path,
    size: tuple[int, int] | None,
    seconds: float,
    threads: int | None,
    trust: Path | None,
    as_json: bool,
) -> None:
    """Times every backend and precision that can run MODEL on this machine.

    A backend that cannot run is listed with the reason.
    """
    from trocar.runtime import benchmark as runtime_benchmark

    rows = []
    for row in runtime_benchmark.benchmark(
        model, size=size, seconds=seconds, threads=threads, trust=trust
    ):
        rows.append(row)
        if as_json:
            click.echo(json.dumps(row.to_dict()))
    if not as_json:
        from rich.console import Console

        from trocar.console.run import benchmark_table

        Console().print(benchmark_table(rows))
