"""Enrol classes that the model was not trained on, with the commands that a user would type.

    python benchmarks/enrolment.py photographs --data ../shared/data --out enrol
    python benchmarks/enrolment.py film --data ../shared/data --out enrol
    python benchmarks/enrolment.py video --demo demo --out enrol-video

``photographs``: a classifier of twelve of the eighteen surgical tools; each of the other six
is enrolled from five of its photographs into a copy of the bundle and recognised, among
thirteen classes, in its fifteen test photographs. ``film``: for each class that was enrolled, a
video of its test photographs among those of the twelve others, under a slow pan and zoom;
a segmentation model that was trained on photographs of the twelve locates the instrument, the
bundle names it. ``video``: a classifier of five kinds of phantom
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
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from helpers.enrolment.media import (
    box_area,
    film_table,
    name_at,
    rates,
    read_records,
    write_crops,
    write_film,
    write_frames,
)

from trocar.contract.bundle import write_atomic
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.sample import PhotoSet

RESULTS = Path(__file__).parent / "results" / "enrolment.json"
PHOTOS = 5
HELD_OUT = "suction"
COMMON = ("--size", "64x64", "--lr", "2e-3", "--device", "cpu", "--workers", "0")
METHODS = {
    "few-shot": (
        "--channels", "8,12,16,24", "--shots", "2", "--queries", "2", "--held-out", "0",
        "--episodes", "20", "--batch-size", "1",
    ),
    "head-triplet": (
        "--backbone", "test_resnet", "--embedding-size", "64", "--p", "5", "--k", "6",
        "--margin", "0", "--ties", "in", "--batch-size", "16",
    ),
}  # fmt: skip
# EfficientNet-Lite0 from ImageNet weights: see `benchmarks/pretrained.py`.
PRETRAINED = (
    "--backbone", "efficientnet_lite0", "--size", "96x96", "--lr", "1e-3", "--channels-last",
)  # fmt: skip
LOCATOR = (
    "--encoder", "tu-regnetx_002", "--decoder-channels", "64", "--size", "160x160",
    "--augmentation", "light", "--lr", "4e-3", "--batch-size", "4", "--channels-last",
    "--device", "cpu", "--workers", "0",
)  # fmt: skip
OTHERS = 2
"""Photographs in a film of each class that is not the enrolled one."""
_METHOD = click.option(
    "--method", type=click.Choice(list(METHODS)), default="head-triplet", show_default=True
)


@click.group()
def cli() -> None:
    """Enrol unseen classes and measure how well they are recognised."""


@cli.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@_METHOD
@click.option("--steps", default=800, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Of the backbone, see pretrained.py."
)
def photographs(
    data: Path, out: Path, method: str, steps: int, seed: int, weights: Path | None
) -> None:
    """Six instruments, each enrolled alone into a classifier of twelve others."""
    photos = open_photos(data / "surgical_tools")
    known, novel = _parted(photos, seed)
    for split in ("train", "val", "test"):
        write_crops(photos.subset(split).of_classes(known), out / "photos" / split)
    bundle = _trained(out, method, steps, seed, weights)
    before = _scores(bundle, out / "photos", out / "before")
    rows = []
    for label in novel:
        name = photos.table[label].name
        own = photos.of_classes([label])
        five = write_crops(own.subset("train").items[:PHOTOS], out / "new", own)
        copy = Path(shutil.copytree(bundle, out / f"{label}.trocar"))
        done, seconds = _run("enroll", copy, "--class", name, *five, check=False)
        row: dict[str, Any] = {"class": name, "seconds": round(seconds, 2), "said": done}
        if "enrolled" in done:
            mixed = Path(shutil.copytree(out / "photos" / "test", out / f"with-{label}" / "test"))
            write_crops(own.subset("test"), mixed)
            after = _scores(copy, mixed.parent, out / f"scores-{label}")
            row["recognised"] = after["scores"][f"recall_{name}"]
            others = [r["recall"] for r in after["per_class"] if r["name"] != name]
            row["others"] = float(np.mean(others))
        rows.append(row)
        click.echo(json.dumps(row))
    about = {"method": method, "steps": steps, "seed": seed}
    _save(
        f"photographs, {method}{', pretrained' if weights else ''}",
        {**about, "before": before["scores"]["balanced_accuracy"], "rows": rows},
    )


@cli.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Output of photographs."
)
@click.option("--steps", default=300, show_default=True, help="Of the segmentation model.")
@click.option("--seed", default=0, show_default=True)
@click.option("--name", default="film", show_default=True, help="Key in enrolment.json.")
def film(data: Path, out: Path, steps: int, seed: int, name: str) -> None:
    """Every class that ``photographs`` enrolled, named in a video of held-out photographs."""
    photos = open_photos(data / "surgical_tools")
    known, novel = _parted(photos, seed)
    locator = out / "locator.trocar"
    if not locator.is_dir():
        write_frames(photos.of_classes(known), out / "frames")
        _run("train", "supervised", out / "frames", "--out", out / "locator-run", "--steps", steps,
             "--seed", seed, "--evaluate-every", steps, *LOCATOR)  # fmt: skip
        _run("export", out / "locator-run", "--out", locator)
    rows = []
    for label in novel:
        bundle = out / f"{label}.trocar"
        new = photos.table[label].name
        listed = _run("enroll", bundle, "--list", lines=True)[0].splitlines()
        if not any(line.startswith(f"{new}\tenrolled") for line in listed):
            continue  # refused; `photographs` says why
        shots = [p for p in photos.subset("test") if p.label == label]
        for other in known:
            shots += [p for p in photos.subset("test") if p.label == other][:OTHERS]
        shots = [shots[i] for i in np.random.default_rng((seed, label)).permutation(len(shots))]
        truth = write_film(shots, out / f"film-{label}.mp4")
        row: dict[str, Any] = {"class": new}
        for kind, more in {"": (), ", none unknown": ("--reject-below", -2)}.items():
            _run("run", locator, out / f"film-{label}.mp4", "--classifier", bundle,
                 "--no-postprocess", "--json", out / f"film-{label}.jsonl", "--overwrite",
                 "--overlay", out / f"named-{label}.mp4", *more)  # fmt: skip
            found = read_records(out / f"film-{label}.jsonl")
            said = [name_at(line, box) for line, (_, box) in zip(found, truth, strict=True)]
            row |= {f"{key}{kind}": v for key, v in rates(said, truth, label, photos).items()}
        rows.append(row)
        click.echo(json.dumps(row))
    _save(name, {"steps": steps, "seed": seed, "rows": rows})


@cli.command()
@click.option("--demo", type=click.Path(path_type=Path), required=True, help="Of `trocar demo`.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@_METHOD
@click.option("--steps", default=800, show_default=True)
@click.option("--frames", default=500, show_default=True)
def video(demo: Path, out: Path, method: str, steps: int, frames: int) -> None:
    """A kind of phantom instrument that training left out, enrolled and named in a video."""
    scene = ("--difficulty", "0.3", "--masks", "types")
    _run("data", "phantom", out / "scenes", "--count", frames, "--size", "320x256", *scene,
         "--clip-length", 2, "--seed", 1)  # fmt: skip
    # Seed 20000 shows a hook, a clip applier and a suction; no training frame is of it.
    _run("data", "phantom", out / "film", "--count", 60, "--size", "640x512", *scene,
         "--seed", 20000, "--video")  # fmt: skip
    photos = open_photos(out / "scenes")
    new = next(row.id for row in photos.table if row.name == HELD_OUT)
    rest = [row.id for row in photos.table if row.id != new]
    for split in ("train", "val"):
        write_crops(photos.subset(split).of_classes(rest), out / "photos" / split)
    bundle = _trained(out, method, steps, 0, None)
    large = sorted(photos.subset("train").of_classes([new]), key=box_area, reverse=True)
    five = write_crops(large[:PHOTOS], out / "new", photos)
    done, seconds = _run("enroll", bundle, "--class", HELD_OUT, *five)
    _run("run", demo / "model.trocar", out / "film" / "video.mp4", "--classifier", bundle,
         "--json", out / "named.jsonl", "--overlay", out / "named.mp4",
         "--no-postprocess")  # fmt: skip
    names = {row.id: row.name for row in film_table(out / "film")}
    said: dict[str, Counter[str]] = {}
    for number, line in enumerate(read_records(out / "named.jsonl")):
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


def _parted(photos: PhotoSet, seed: int) -> tuple[list[int], list[int]]:
    """The classes that are trained on, and the six that are not.

    Of these, `benchmarks/classification.py few-shot --set tools` never trains on either.
    """
    order = np.random.default_rng((seed, 18)).permutation(len(photos.table))
    return sorted(order[6:].tolist()), sorted(order[:6].tolist())


def _trained(out: Path, method: str, steps: int, seed: int, weights: Path | None) -> Path:
    bundle = out / "tools.trocar"
    more = (*PRETRAINED, "--backbone-weights", weights.resolve()) if weights else ()
    _run("train", method, out / "photos", "--out", out / "run", "--steps", steps, "--seed", seed,
         "--evaluate-every", steps, *COMMON, *METHODS[method], *more)  # fmt: skip
    _run("export", out / "run", "--out", bundle)
    return bundle


def _scores(bundle: Path, photos: Path, out: Path) -> dict[str, Any]:
    _run("evaluate", bundle, photos, "--split", "test", "--out", out)
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return found


def _run(*words: object, check: bool = True, lines: bool = False) -> tuple[str, float]:
    """``trocar …`` as a process of its own: what it said and the seconds of the whole process.

    Its line of enrolment, or its last; with ``lines`` all of them.
    """
    command = [sys.executable, "-m", "trocar.cli", *map(str, words)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if check and done.returncode:
        raise click.ClickException(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    text = (done.stdout if not done.returncode else done.stderr).strip()
    if lines:
        return text, seconds
    said = text.splitlines()[-1] if text else ""
    said = next((s for s in text.splitlines() if "enrolled" in s or "cannot" in s), said)
    folders = [word.parent for word in words if isinstance(word, Path)]
    for folder in folders:
        said = said.replace(f"{folder}/", "")
    return said, seconds


def _save(name: str, row: dict[str, Any]) -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    rows[name] = {**row, "command": " ".join(["python", "benchmarks/enrolment.py", *words])}
    write_atomic(RESULTS, (json.dumps(rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    cli()
