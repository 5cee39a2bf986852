"""Time every backend and precision on this machine.

trocar benchmark model.trocar --size 1920x1080
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trocar.commands._help import GroupedCommand
from trocar.commands._trust import trust_option
from trocar.commands._types import SizeType

if TYPE_CHECKING:
    from trocar.runtime.benchmark import BenchmarkRow, LiveRow


class RatesType(click.ParamType):  # type: ignore[type-arg]
    """Frames a second, with commas between."""

    name = "rates"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return "FPS[,FPS…]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Reads ``25,60``; a tuple is returned as it is.

        Raises:
            click.BadParameter: A part is no number above 0 and up to 1000.
        """
        if isinstance(value, tuple):
            return value
        rates = []
        for part in str(value).split(","):
            try:
                rate = float(part)
            except ValueError:
                rate = 0.0
            if not 0 < rate <= 1000:
                self.fail(
                    f"{part!r} is not a rate: write frames a second above 0 and at most 1000, "
                    "with commas between, e.g. 25,30,50,60",
                    param,
                    ctx,
                )
            rates.append(rate)
        return tuple(rates)


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--size", type=SizeType(), help="Frame size. [default: the golden frame's]")
@click.option("--seconds", type=float, default=3.0, help="Seconds for each row.")
@click.option(
    "--live",
    type=RatesType(),
    help="Feed frames at these rates, as a camera does, and print the age of results, dropped "
    "frames and the device's clock; e.g. 25,30,50,60.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: all cores]")
@click.option(
    "--nv12", is_flag=True, help="Give frames as NV12, where the bundle was exported with --nv12."
)
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
def benchmark(
    model: Path,
    size: tuple[int, int] | None,
    seconds: float,
    live: tuple[float, ...] | None,
    threads: int | None,
    nv12: bool,
    trust: Path | None,
    as_json: bool,
) -> None:
    """Times every backend and precision that can run MODEL on this machine.

    A backend that cannot run is listed with the reason.
    """
    from trocar.runtime import benchmark as runtime_benchmark

    rows: Iterator[BenchmarkRow] | Iterator[LiveRow]
    if live is None:
        rows = runtime_benchmark.benchmark(
            model, size=size, seconds=seconds, threads=threads, trust=trust, nv12=nv12
        )
    else:
        rows = runtime_benchmark.live_benchmark(
            model, rates=live, size=size, seconds=seconds, threads=threads, trust=trust, nv12=nv12
        )
    if as_json:
        for row in rows:
            click.echo(json.dumps(row.to_dict()))
        return
    from rich.console import Console

    from trocar.console.run import benchmark_table, rates_table

    Console().print(
        benchmark_table([row for row in rows if isinstance(row, runtime_benchmark.BenchmarkRow)])
        if live is None
        else rates_table([row for row in rows if isinstance(row, runtime_benchmark.LiveRow)])
    )
