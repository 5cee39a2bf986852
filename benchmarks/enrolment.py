"""Enrols classes that the model never saw, end to end by the commands that a user would type.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import write_atomic
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.sample import Photo, PhotoSet

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
OTHERS, SHOWN = 2, 8
"""Photographs of each class beside the enrolled one in a film, and frames that show each."""
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
@click.option("--weights", type=click.Path(path_type=Path), help="Of a pretrained backbone.")
def photographs(
    data: Path, out: Path, method: str, steps: int, seed: int, weights: Path | None
) -> None:
    """Six instruments, each enrolled alone into a classifier of twelve others."""
    photos = open_photos(data / "surgical_tools")
    known, novel = _parted(photos, seed)
    for split in ("train", "val", "test"):
        _write(photos.subset(split).of_classes(known), out / "photos" / split)
    bundle = _trained(out, method, steps, seed, weights)
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
        f"photographs, {method}{', pretrained' if weights else ''}",
        {**about, "before": before["scores"]["balanced_accuracy"], "rows": rows},
    )


@cli.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Of photographs.")
@click.option("--steps", default=300, show_default=True, help="Of the segmentation model.")
@click.option("--seed", default=0, show_default=True)
@click.option("--name", default="film", show_default=True, help="What the results are kept under.")
def film(data: Path, out: Path, steps: int, seed: int, name: str) -> None:
    """Every class that ``photographs`` enrolled, named in a video of held-out photographs."""
    photos = open_photos(data / "surgical_tools")
    known, novel = _parted(photos, seed)
    locator = out / "locator.trocar"
    if not locator.is_dir():
        _write_frames(photos.of_classes(known), out / "frames")
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
        truth = _write_film(shots, out / f"film-{label}.mp4")
        row: dict[str, Any] = {"class": new}
        for kind, more in {"": (), ", none unknown": ("--unknown-below", -2)}.items():
            _run("run", locator, out / f"film-{label}.mp4", "--classify", bundle, "--raw",
                 "--json", out / f"film-{label}.jsonl", "--overwrite",
                 "--overlay", out / f"named-{label}.mp4", *more)  # fmt: skip
            found = _frames(out / f"film-{label}.jsonl")
            said = [_named(line, box) for line, (_, box) in zip(found, truth, strict=True)]
            row |= {f"{key}{kind}": v for key, v in _shares(said, truth, label, photos).items()}
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
        _write(photos.subset(split).of_classes(rest), out / "photos" / split)
    bundle = _trained(out, method, steps, 0, None)
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


def _write_frames(photos: PhotoSet, root: Path) -> None:
    """Whole photographs with masks: what differs from the empty tray inside the instrument's box.

    The tray is the median of the training photographs. The set has boxes only; the hull of what
    differs is one instrument.
    """
    sample = photos.subset("train").items[::9]
    tray = np.median(np.stack([_picture(p) for p in sample]), axis=0).astype(np.int16)
    for kind in ("images", "masks", "splits"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    rows = [("background", "false"), ("tool", "true")]
    text = "".join(
        f'[[classes]]\nid = {i}\nname = "{n}"\ninstrument = {b}\n' for i, (n, b) in enumerate(rows)
    )
    (root / "classes.toml").write_text(text, encoding="utf-8")
    for split, every in (("train", 1), ("val", 5)):
        names = []
        for number, photo in enumerate(photos.subset(split).items[::every]):
            names.append(f"{split}{number:04d}")
            image = _picture(photo)
            x0, y0, x1, y1 = (round(v) for v in _corners(photo, image.shape))
            away = np.abs(image.astype(np.int16) - tray).max(-1)[y0:y1, x0:x1] > 24
            points = np.argwhere(away)[:, ::-1].astype(np.int32)
            mask = np.zeros(image.shape[:2], np.uint8)
            if len(points) > 2:
                cv2.fillConvexPoly(mask, cv2.convexHull(points) + np.array([x0, y0]), 1)
            assert cv2.imwrite(str(root / "images" / f"{names[-1]}.png"), image)
            assert cv2.imwrite(str(root / "masks" / f"{names[-1]}.png"), mask)
        (root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def _write_film(shots: list[Photo], path: Path) -> list[tuple[int, tuple[float, ...]]]:
    """Each photograph for some frames, slowly moved and enlarged; class and box of every frame."""
    import av

    truth = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18", "threads": "1"})
        height, width = _picture(shots[0]).shape[:2]  # all of them are of one size
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number, photo in enumerate(shots):
            image = _picture(photo)
            corners = np.array(_corners(photo, image.shape)).reshape(2, 2)
            centre = corners.mean(0)
            turn = 2 * np.pi * number / len(shots)
            for place in range(SHOWN):
                zoom, way = 0.9 + 0.1 * place / SHOWN, 8.0 * place / SHOWN
                shift = (1 - zoom) * centre + way * np.array([np.cos(turn), np.sin(turn)])
                warp = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
                moved = cv2.warpAffine(
                    image, warp, (width, height), borderMode=cv2.BORDER_REPLICATE
                )
                box = (zoom * corners + shift).clip(0, (width, height))
                truth.append((photo.label, tuple(box.ravel().tolist())))
                frame = av.VideoFrame.from_ndarray(moved[..., ::-1].copy(), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return truth


def _named(line: dict[str, Any], box: tuple[float, ...]) -> str:
    """What the instrument was called that lies on the true box, or nothing where none does."""
    best, name = 0.5, ""
    for one in line["instruments"]:
        a, b = np.array(one["box"], float).reshape(2, 2), np.array(box).reshape(2, 2)
        inside = np.prod((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])).clip(0))
        overlap = inside / (np.prod(a[1] - a[0]) + np.prod(b[1] - b[0]) - inside)
        if overlap >= best:
            best, name = overlap, one["classified"]["name"]
    return name


def _shares(
    said: list[str], truth: list[tuple[int, tuple[float, ...]]], label: int, photos: PhotoSet
) -> dict[str, float]:
    """Shares of the frames that show the enrolled class, and of those that show others."""
    new = photos.table[label].name
    shown = [photos.table[one].name for one, _ in truth]
    own = [word for word, name in zip(said, shown, strict=True) if name == new]
    rest = [(word, name) for word, name in zip(said, shown, strict=True) if name != new]
    return {
        "located": 1 - own.count("") / len(own),
        "right": own.count(new) / len(own),
        "unknown": own.count("unknown") / len(own),
        "others_right": sum(word == name for word, name in rest) / len(rest),
        "others_unknown": sum(word == "unknown" for word, _ in rest) / len(rest),
        "others_taken_for_it": sum(word == new for word, _ in rest) / len(rest),
    }


def _picture(photo: Photo) -> NDArray[np.uint8]:
    image = cv2.imread(str(photo.file))
    assert image is not None
    return np.asarray(image, np.uint8)


def _corners(photo: Photo, shape: tuple[int, ...]) -> tuple[float, ...]:
    x0, y0, x1, y1 = photo.box or (0, 0, 1, 1)
    return (x0 * shape[1], y0 * shape[0], x1 * shape[1], y1 * shape[0])


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
