"""Train recipes over seeds and compare them.

trocar compare supervised cross_consistency --data frames/ --out runs/few
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click

from trocar.commands._config_options import SIZE, arguments_of
from trocar.commands._help import GroupedCommand, grouped
from trocar.commands._types import SizeType
from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError
from trocar.train.compare import Comparison, read_entries, table, write_plot
from trocar.train.run import TrainRequest, run_method
from trocar.train.state.run_folder import disk_errors

_PATH = click.Path(path_type=Path)


@click.command(cls=GroupedCommand)
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@grouped(
    "Data",
    click.option("--data", type=_PATH, required=True, help="Labelled set."),
    click.option("--unlabelled", type=_PATH, help="Frames without labels, where methods use them."),
    click.option("--target", type=_PATH, help="Frames of the target domain, likewise."),
    click.option("--validation", type=_PATH, help="Labelled set to validate on instead."),
)
@grouped(
    "Runs",
    click.option("--out", type=_PATH, required=True, help="Folder for the runs and the table."),
    click.option("--seeds", type=click.IntRange(1), default=3, help="Number of seeds, from 0."),
    click.option(
        "--set", "given", multiple=True, metavar="NAME=VALUE",
        help="A setting of all recipes, e.g. steps=2000 or size=320x256. Can be repeated.",
    ),
    click.option(
        "--allow-different", "allowed", multiple=True, metavar="NAME",
        help="A setting that may differ between the recipes. Can be repeated.",
    ),
)  # fmt: skip
@grouped(
    "Table",
    click.option("--metric", default="iou_mean", help="Score to compare by."),
    click.option("--last", is_flag=True, help="Compare last scores instead of best ones."),
)
def compare(
    recipes: tuple[str, ...],
    out: Path,
    seeds: int,
    metric: str,
    last: bool,
    given: tuple[str, ...],
    allowed: tuple[str, ...],
    **data: Any,
) -> None:
    """Train recipes over seeds on the same data and print mean and spread.

    RECIPE is a TOML file, or the name of one that comes with Trocar. Finished runs are not
    repeated; interrupted runs are resumed. With several GPUs each GPU trains one run at a time.
    Recipes must be equal in every setting that they share, apart from those of a method's own
    term. A recipe is better or worse than the first where the 95 % interval of their difference
    over the seeds excludes 0.
    """
    entries = read_entries(recipes, overrides(given), allowed=allowed)
    comparison = Comparison(out=out, **data)
    which = "last" if last else "best"
    _train_all(
        [
            comparison.request(entry, seed, command=shlex.join(["trocar", *sys.argv[1:]]))
            for entry, seed in comparison.unfinished(entries, seeds=seeds)
        ]
    )
    rows = [comparison.collect(entry.name, seeds, metric, which) for entry in entries]
    text = table(rows, metric=f"{which} {metric}")
    with disk_errors(out):
        write_atomic(out / "comparison.md", (text + "\n").encode())
        write_atomic(out / "comparison.json", json.dumps([vars(row) for row in rows]).encode())
        write_plot(rows, out / "comparison.png", metric=metric)
    click.echo(text)


def overrides(given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts to values by name; a size is WIDTHxHEIGHT and becomes [height, width].

    Raises:
        ConfigError: A text has no equals sign, or a size is not WIDTHxHEIGHT.
    """
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise ConfigError(f"--set {wrong[0]!r} has no value", remedy="write --set NAME=VALUE")
    pairs = (text.split("=", 1) for text in given)
    values: dict[str, Any] = {n.strip().replace("-", "_"): v.strip() for n, v in pairs}
    if SIZE in values:
        try:
            values[SIZE] = list(SizeType().convert(values[SIZE], None, None))
        except click.BadParameter as error:
            raise ConfigError(
                f"--set {SIZE}: {error.message}", remedy=f"e.g. --set {SIZE}=320x256"
            ) from error
    return values


def _train_all(requests: Sequence[TrainRequest]) -> None:
    """Trains in this process, or on every GPU at once where there are several."""
    gpus = _gpu_count()
    if gpus < 2:
        for request in requests:
            click.echo(f"training in {request.out}", err=True)
            run_method(request)
        return
    free: SimpleQueue[int] = SimpleQueue()
    for gpu in range(gpus):
        free.put(gpu)

    def run(request: TrainRequest) -> None:
        gpu = free.get()
        try:
            _train_on(gpu, request)
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(gpus) as pool:
        list(pool.map(run, requests))


def _train_on(gpu: int, request: TrainRequest) -> None:
    """Trains in a process that sees one GPU; its output goes to ``seed<n>.log``."""
    request.out.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
    with request.out.with_suffix(".log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "trocar.cli", *train_arguments(request)],
            env=environment, stdout=log, stderr=log, check=False,
        )  # fmt: skip


def train_arguments(request: TrainRequest) -> list[str]:
    """The arguments of ``trocar`` that train a request."""
    sets = {name: getattr(request, name) for name in ("unlabelled", "target", "validation")}
    return [
        "train",
        request.method,
        str(request.data),
        "--out",
        str(request.out),
        *(["--resume"] if request.resume else []),
        *arguments_of({**sets, **request.settings}),
    ]


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
