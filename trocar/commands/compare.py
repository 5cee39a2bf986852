"""Train recipes over seeds and compare them.

trocar compare supervised cross_consistency --data frames/ --out runs/few
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click

from trocar.contract.bundle import write_atomic
from trocar.train.compare import Entry, collect, overrides, read_entries, table, write_plot
from trocar.train.run import run_method
from trocar.train.state.run_folder import METRICS, sink

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@click.option("--data", type=_FOLDER, required=True, help="Labelled frames.")
@click.option("--unlabelled", type=_FOLDER, help="Frames without labels, for methods taking them.")
@click.option("--target", type=_FOLDER, help="Frames of the target domain, likewise.")
@click.option("--validation", type=_FOLDER, help="Labelled frames to validate on instead.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for the runs and the table.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option("--metric", default="iou_mean", show_default=True, help="Score to compare by.")
@click.option("--last", is_flag=True, help="Take the last score of each run, not its best.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="For all recipes.")
def compare(
    recipes: tuple[str, ...],
    data: Path,
    out: Path,
    seeds: int,
    metric: str,
    last: bool,
    given: tuple[str, ...],
    **sets: Path | None,
) -> None:
    """Train recipes over seeds on the same data and print mean and spread.

    Runs that are done are not run again, and cut ones go on. With several GPUs the runs are spread
    over them, one a GPU.
    """
    entries = read_entries(recipes, overrides(given))
    pick = "last" if last else "best"
    todo = [(entry, seed) for entry in entries for seed in range(seeds)]
    _run_all(todo, data=data, out=out, sets=sets)
    rows = [
        collect(entry.name, [out / entry.name / f"seed{s}" for s in range(seeds)], metric, pick)
        for entry in entries
    ]
    text = table(rows, metric=f"{pick} {metric}")
    with sink(out):
        write_atomic(out / "comparison.md", (text + "\n").encode())
        write_atomic(out / "comparison.json", json.dumps([vars(row) for row in rows]).encode())
        write_plot(rows, out / "comparison.png", metric=metric)
    click.echo(text)


def _run_all(
    todo: Sequence[tuple[Entry, int]], *, data: Path, out: Path, sets: Mapping[str, Path | None]
) -> None:
    todo = [(e, s) for e, s in todo if not (out / e.name / f"seed{s}" / METRICS).is_file()]
    gpus = _gpus()
    if gpus < 2:
        for entry, seed in todo:
            click.echo(f"{entry.name}, seed {seed}", err=True)
            _run_here(entry, seed, data=data, out=out, sets=sets)
        return
    free: SimpleQueue[int] = SimpleQueue()
    for gpu in range(gpus):
        free.put(gpu)

    def run(task: tuple[Entry, int]) -> None:
        gpu = free.get()
        try:
            _run_there(*task, gpu=gpu, data=data, out=out, sets=sets)
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(gpus) as pool:
        list(pool.map(run, todo))


def _flags(entry: Entry, sets: Mapping[str, Path | None]) -> dict[str, Any]:
    from trocar.train.methods import find_method
    from trocar.train.methods.protocol import accepted_data

    accepted = (*accepted_data(find_method(entry.method)), "validation")
    return {name: path for name, path in sets.items() if path is not None and name in accepted}


def _run_here(
    entry: Entry, seed: int, *, data: Path, out: Path, sets: Mapping[str, Path | None]
) -> None:
    folder = out / entry.name / f"seed{seed}"
    flags = {**entry.settings, "seed": seed, "resume": folder.exists(), **_flags(entry, sets)}
    run_method(entry.method, data=data, out=folder, flags=flags)


def _run_there(
    entry: Entry, seed: int, *, gpu: int, data: Path, out: Path, sets: Mapping[str, Path | None]
) -> None:
    """Runs in a process of its own that sees one GPU; its output goes to a file."""
    folder = out / entry.name / f"seed{seed}"
    command = [sys.executable, "-m", "trocar.cli", "train", entry.method, str(data)]
    command += [
        "--out",
        str(folder),
        "--seed",
        str(seed),
        *(["--resume"] if folder.exists() else []),
    ]
    for name, value in {**entry.settings, **_flags(entry, sets)}.items():
        if isinstance(value, bool):
            command.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        command += [f"--{name.replace('_', '-')}", text]
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
    with (folder.parent / f"seed{seed}.log").open("ab") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
