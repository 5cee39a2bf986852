"""Time every back end and precision on this machine.

trocar benchmark model.trocar
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from trocar.contract.errors import ConfigError


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--frame", metavar="HEIGHTxWIDTH", help="Frame size [default: the golden frame's].")
@click.option("--seconds", type=float, default=3.0, help="Time for each row.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
def benchmark(
    model: Path, frame: str | None, seconds: float, threads: int | None, as_json: bool
) -> None:
    """Times every backend and precision that this machine can give a bundle.

    What cannot run is listed with its reason.
    """
    from trocar.runtime import benchmark as measured

    size = None
    if frame is not None:
        height, _, width = frame.partition("x")
        if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
            raise ConfigError(
                f"--frame is {frame!r}, expected HEIGHTxWIDTH", remedy="e.g. --frame 1080x1920"
            )
        size = (int(height), int(width))
    rows = []
    for row in measured.benchmark(model, frame=size, seconds=seconds, threads=threads):
        rows.append(row)
        if as_json:
            click.echo(json.dumps(row.to_dict()))
    if not as_json:
        from rich.console import Console

        from trocar.console.run import benchmark_table

        Console().print(benchmark_table(rows))
