"""Enrols classes that the model never saw, end to end by the commands that a user would type.

    python benchmarks/enrolment.py photographs --data ../shared/data --out enrol
    python benchmarks/enrolment.py video --demo demo --out enrol-video

``photographs``: a classifier of twelve of the eighteen surgical tools; each of the other six
is enrolled from five of its photographs into a copy of the bundle and recognised, among
thirteen classes, in its fifteen test photographs. ``video``: a classifier of five kinds of phantom
instruments, the sixth enrolled, all named in a video that a segmentation model (of ``trocar demo``)
locates them in. Results go to ``benchmarks/results/enrolment.json``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from trocar.contract.bundle import write_atomic
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.sample import Photo, PhotoSet

RESULTS = Path(__file__).parent / "results" / "enrolment.json"
PHOTOS = 5
HELD_OUT = "suction"
COMMON = ("--size", "64,64", "--lr", "2e-3", "--device", "cpu", "--workers", "0")
METHODS = {
    "few-shot": (
        "--channels", "8,12,16,24", "--shots", "2", "--queries", "2", "--held-out", "0",
        "--episodes", "20", "--batch-size", "1",
    ),
    "head-triplet": (
        "--backbone", "test_resnet", "--embedding", "64", "--p", "5", "--k", "6", "--margin", "0",
        "--ties", "in", "--batch-size", "16",
    ),
}  # fmt: skip
_METHOD = click.option(
    "--method", type=click.Choice(list(METHODS)), default="head-triplet", show_default=True
)


@click.group()
def cli() -> None:
    """See the module."""


@cli.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@_METHOD
@click.option("--steps", default=800, show_default=True)
@click.option("--seed", default=0, show_default=True)
def photographs(data: Path, out: Path, method: str, steps: int, seed: int) -> None:
    """Six instruments, each enrolled alone into a classifier of twelve others."""
    photos = open_photos(data / "surgical_tools")
    # The classes that `benchmarks/classification.py few-shot --set tools` never trains on.
    order = np.random.default_rng((seed, 18)).permutation(len(photos.table))
    known, novel = sorted(order[6:].tolist()), sorted(order[:6].tolist())
    for split in ("train", "val", "test"):
        _write(photos.subset(split).of_classes(known), out / "photos" / split)
    bundle = _trained(out, method, steps, seed)
    before = _scores(bundle, out / "photos", out / "before")
    rows = []
    for label in novel:
        name = photos.table[label].name
        own = photos.of_classes([label])
        five = _write(own.subset("train").items[:PHOTOS], out / "new", own)
        copy = Path(shutil.copytree(bundle, out / f"{label}.trocar"))
        done, seconds = _run("enroll", copy, "--class", name, *five, check=False)
        row: dict[str, Any] = {"class": name, "seconds": round(seconds, 2), "said": done}
        if "enrolled" in done:
            mixed = Path(shutil.copytree(out / "photos" / "test", out / f"with-{label}" / "test"))
            _write(own.subset("test"), mixed)
            after = _scores(copy, mixed.parent, out / f"scores-{label}")
            row["recognised"] = after["scores"][f"recall_{name}"]
            others = [r["recall"] for r in after["per_class"] if r["name"] != name]
            row["others"] = float(np.mean(others))
        rows.append(row)
        click.echo(json.dumps(row))
    about = {"method": method, "steps": steps, "seed": seed}
    _save(
        f"photographs, {method}",
        {**about, "before": before["scores"]["balanced_accuracy"], "rows": rows},
    )


@cli.command()
@click.option("--demo", type=click.Path(path_type=Path), required=True, help="Of `trocar demo`.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@_METHOD
@click.option("--steps", default=800, show_default=True)
@click.option("--frames", default=500, show_default=True)
def video(demo: Path, out: Path, method: str, steps: int, frames: int) -> None:
    """A kind of phantom instrument that training left out, enrolled and named in a video."""
    scene = ("--difficulty", "0.3", "--masks", "types")
    _run("data", "phantom", out / "scenes", "--frames", frames, "--size", "320x256", *scene,
         "--clip-length", 2, "--seed", 1)  # fmt: skip
    # Seed 20000 shows a hook, a clip applier and a suction; no training frame is of it.
    _run("data", "phantom", out / "film", "--frames", 60, "--size", "640x512", *scene,
         "--seed", 20000, "--video")  # fmt: skip
    photos = open_photos(out / "scenes")
    new = next(row.id for row in photos.table if row.name == HELD_OUT)
    rest = [row.id for row in photos.table if row.id != new]
    for split in ("train", "val"):
        _write(photos.subset(split).of_classes(rest), out / "photos" / split)
    bundle = _trained(out, method, steps, 0)
    large = sorted(photos.subset("train").of_classes([new]), key=_size, reverse=True)
    five = _write(large[:PHOTOS], out / "new", photos)
    done, seconds = _run("enroll", bundle, "--class", HELD_OUT, *five)
    _run("run", demo / "model.trocar", out / "film" / "video.mp4", "--classify", bundle,
         "--json", out / "named.jsonl", "--overlay", out / "named.mp4", "--raw")  # fmt: skip
    names = {row.id: row.name for row in _film_table(out / "film")}
    said: dict[str, Counter[str]] = {}
    for number, line in enumerate(_frames(out / "named.jsonl")):
        mask = cv2.imread(str(sorted((out / "film" / "video_masks").glob("*.png"))[number]), -1)
        assert mask is not None
        for one in line["instruments"]:
            x0, y0, x1, y1 = (int(v) for v in one["box"])
            inside = np.bincount(mask[y0:y1, x0:x1].ravel(), minlength=len(names))[1:]
            if inside.sum() >= 64:
                truth = names[int(inside.argmax()) + 1]
                said.setdefault(truth, Counter())[one["classified"]["name"]] += 1
    row = {
        "method": method,
        "steps": steps,
        "seconds": round(seconds, 2),
        "said": done,
        "named": said,
    }
    click.echo(json.dumps(row, indent=1))
    _save(f"video, {method}", row)


def _trained(out: Path, method: str, steps: int, seed: int) -> Path:
    bundle = out / "tools.trocar"
    _run("train", method, out / "photos", "--out", out / "run", "--steps", steps, "--seed", seed,
         "--evaluate-every", steps, *COMMON, *METHODS[method])  # fmt: skip
    _run("export", out / "run", "--out", bundle)
    return bundle


def _scores(bundle: Path, photos: Path, out: Path) -> dict[str, Any]:
    _run("evaluate", bundle, photos, "--split", "test", "--out", out)
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return found


def _run(*words: object, check: bool = True) -> tuple[str, float]:
    """``trocar …`` as a process of its own: its last line and the seconds of the whole process."""
    command = [sys.executable, "-m", "trocar.cli", *map(str, words)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if check and done.returncode:
        raise click.ClickException(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    lines = (done.stdout if not done.returncode else done.stderr).strip().splitlines()
    first = next((line for line in lines if "enrolled" in line or "cannot" in line), "")
    said = first or (lines[-1] if lines else "")
    folders = [word.parent for word in words if isinstance(word, Path)]
    for folder in folders:
        said = said.replace(f"{folder}/", "")
    return said, seconds


def _write(
    photos: PhotoSet | Iterable[Photo], folder: Path, of: PhotoSet | None = None
) -> list[Path]:
    """Crops as files: below their class's folder, or side by side where ``of`` is given."""
    source = of or photos
    assert isinstance(source, PhotoSet)
    files = []
    for number, item in enumerate(photos):
        name = source.table[item.label].name
        stem = f"{number:04d}.png" if of is None else f"{item.label}_{number}.png"
        file = folder / stem if of is not None else folder / name / stem
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), source.read(item)[..., ::-1])
        files.append(file)
    return files


def _size(photo: Photo) -> float:
    x0, y0, x1, y1 = photo.box or (0, 0, 0, 0)
    return (x1 - x0) * (y1 - y0)


def _film_table(folder: Path) -> Any:
    from trocar.train.data.readers import open_frames

    return open_frames(folder).table


def _frames(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "instruments" in line]


def _save(name: str, row: dict[str, Any]) -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    rows[name] = {**row, "command": " ".join(["python", "benchmarks/enrolment.py", *words])}
    write_atomic(RESULTS, (json.dumps(rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    cli()
