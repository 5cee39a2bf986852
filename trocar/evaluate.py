"""`trocar evaluate`: scores checkpoints and bundles on labelled frames, and compares two of them.

trocar evaluate model.trocar data/ --split test
trocar evaluate runs/a data/ --against runs/b
"""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cv2
import numpy as np

from trocar.bootstrap import paired
from trocar.contract.bundle import replaced_folder
from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError, OutputExistsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.predict import Predictor
    from trocar.scoring import Evaluation, FrameScore, LabelledFrame

EVALUATION = "evaluation.json"
SCHEMA = "1.0"
VIDEO = "video.mp4"
VIDEO_MASKS = "video_masks"


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", default=None, help="Split to score [default: test, else val, else all].")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for evaluation.json and pictures."
)
@click.option(
    "--against", type=click.Path(path_type=Path), help="A second model, compared frame by frame."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda[:n].")
@click.option(
    "--video", is_flag=True, help=f"Score {VIDEO} of DATA against its {VIDEO_MASKS}/ instead."
)
@click.option("--task", default=None, help="Task of a data set that has several.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier evaluation in --out.")
def evaluate(
    model: Path,
    data: Path,
    split: str | None,
    out: Path | None,
    against: Path | None,
    device: str,
    video: bool,
    task: str | None,
    overwrite: bool,
) -> None:
    """Score MODEL (a bundle, run folder or checkpoint) on the labelled frames of DATA.

    IoU and Dice per class, binary and mean, the challenge protocols, calibration, and 95 %
    intervals by bootstrap over videos.
    """
    from trocar.predict import open_predictor

    if out is not None and out.exists() and not (overwrite and (out / EVALUATION).is_file()):
        raise OutputExistsError(
            f"{out} exists already", remedy="name another --out, or --overwrite"
        )
    predictor = open_predictor(model, device=device, task="segmentation")
    source = _Frames(data, predictor.manifest.classes, split=split, video=video, task=task)
    first = _score(predictor, source, str(model))
    _print_scores(first, predictor, source)
    if against is not None:
        rival = open_predictor(against, device=device, task="segmentation")
        second = _score(rival, source, str(against))
        _print_comparison(first, second, (str(model), str(against)))
    if out is not None:
        with replaced_folder(out) as folder:
            _write(folder, first, predictor, source, model)
        click.echo(f"wrote {out / EVALUATION}")


class _Frames:
    """Labelled frames of a data set or of a video with masks, in the model's class ids."""

    def __init__(
        self, path: Path, table: ClassTable, *, split: str | None, video: bool, task: str | None
    ) -> None:
        self.path = path
        self.table = table
        if video:
            self.split = "video"
            self.masks = sorted((path / VIDEO_MASKS).glob("*.png"))
            if not self.masks or not (path / VIDEO).is_file():
                raise DataError(
                    f"{path} holds no {VIDEO} with masks in {VIDEO_MASKS}/",
                    remedy="make one with `trocar data phantom OUT --video`, or leave --video out",
                )
            self.count = len(self.masks)
            return
        from trocar.train.data.readers import open_frames

        frames = open_frames(path, task=task).labelled()
        chosen = split or next((s for s in ("test", "val") if frames.splits.get(s)), None)
        self.split = chosen or "all"
        self.masks = []
        self.set = frames.subset(chosen) if chosen else frames
        self.count = len(self.set)
        self.lookup = _lookup(self.set.table, table, path)

    def __iter__(self) -> Iterator[LabelledFrame]:
        return self._of_video() if self.masks else self._of_set()

    def _of_set(self) -> Iterator[LabelledFrame]:
        from trocar.scoring import LabelledFrame

        for item in self.set:
            sample = self.set.read(item)
            assert sample.mask is not None
            yield LabelledFrame(
                name=item.name, group=item.group, image=sample.image, mask=self.lookup[sample.mask]
            )

    def _of_video(self) -> Iterator[LabelledFrame]:
        from trocar.runtime.sources import open_source
        from trocar.scoring import LabelledFrame

        source = open_source(self.path / VIDEO)
        try:
            for frame, file in zip(source.frames(), self.masks, strict=False):
                mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
                if mask is None or mask.shape != frame.image.shape[:2]:
                    raise DataError(
                        f"{file} is no mask of the size of its frame", remedy="make the set again"
                    )
                yield LabelledFrame(
                    name=file.stem, group="", image=frame.image, mask=mask.astype(np.uint8)
                )
        finally:
            source.close()


def _lookup(ours: ClassTable, models: ClassTable, path: Path) -> NDArray[np.uint8]:
    """Maps the data's class ids to the model's by name.

    Raises:
        DataError: The model does not know a class of the data.
    """
    missing = [name for name in ours.names if name not in models.names]
    if missing:
        raise DataError(
            f"{path} has classes that the model does not know: {', '.join(missing)}; "
            f"it knows {', '.join(models.names)}",
            remedy="train on this class table, or map the classes when reading the data",
        )
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for row in ours:
        table[row.id] = models[row.name].id
    return table


def _score(predictor: Predictor, source: _Frames, name: str) -> Evaluation:
    from rich.console import Console
    from rich.progress import Progress

    from trocar.scoring import score

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=source.count)
        return score(predictor, source, progress=lambda: bar.advance(task))


def _print_scores(evaluation: Evaluation, predictor: Predictor, source: _Frames) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"[bold]{predictor.manifest.name}[/bold]  {predictor.backend} {predictor.precision} on "
        f"{predictor.device} · {source.path} ({source.split}, {len(evaluation.frames)} frames)"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("IoU", justify="right")
    table.add_column("Dice", justify="right")
    for row in evaluation.table:
        table.add_row(
            row.name,
            _number(evaluation.scores[f"iou_{row.name}"]),
            _number(evaluation.scores[f"dice_{row.name}"]),
        )
    console.print(table)
    named = Table(box=None, pad_edge=False, show_header=False)
    named.add_column()
    named.add_column(justify="right")
    per_class = {f"{kind}_{row.name}" for row in evaluation.table for kind in ("iou", "dice")}
    for name, value in evaluation.scores.items():
        if name not in per_class:
            named.add_row(name, _number(value))
    for name, (low, high) in evaluation.intervals.items():
        named.add_row(f"{name} 95 % interval", f"{_number(low)} … {_number(high)}")
    named.add_row("calibration error (ECE)", _number(evaluation.calibration["ece"]))
    console.print(named)


def _print_comparison(a: Evaluation, b: Evaluation, names: tuple[str, str]) -> None:
    from rich.console import Console

    console = Console()
    for key in ("iou_binary", "iou_mean"):
        result = paired(
            [getattr(frame, key) for frame in a.frames],
            [getattr(frame, key) for frame in b.frames],
            groups=[frame.group for frame in a.frames],
        )
        verdict = result.verdict.replace("A is", f"{names[0]} is").replace("B is", f"{names[1]} is")
        console.print(
            f"per-frame {key}: {names[1]} − {names[0]} = {result.mean:+.4f} "
            f"[{result.low:+.4f}, {result.high:+.4f}], {result.wins} wins, {result.losses} losses "
            f"of {result.frames} frames: {verdict}"
        )


def _write(
    folder: Path, evaluation: Evaluation, predictor: Predictor, source: _Frames, model: Path
) -> None:
    picked = pick(evaluation.frames)
    wanted = {name: kind for kind, names in picked.items() for name in names}
    pictures: dict[str, list[str]] = {kind: [] for kind in picked}
    for frame in source:
        kind = wanted.get(frame.name)
        if kind is not None:
            labels, _ = predictor.predict(frame.image)
            file = f"{kind}_{len(pictures[kind]) + 1}.jpg"
            _save_comparison(folder / file, frame, labels, evaluation.table)
            pictures[kind].append(file)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": {
            "path": str(model),
            "name": predictor.manifest.name,
            "method": predictor.manifest.method,
            "backend": predictor.backend,
            "device": predictor.device,
            "precision": predictor.precision,
            "source": dict(predictor.manifest.source),
        },
        "data": {"path": str(source.path), "split": source.split, "frames": source.count},
        "command": shlex.join(["trocar", *sys.argv[1:]]),
        "environment": environment(),
        "pictures": pictures,
        **evaluation.to_dict(),
    }
    (folder / EVALUATION).write_text(json.dumps(document, indent=1), encoding="utf-8")


def pick(frames: tuple[FrameScore, ...], count: int = 3) -> dict[str, list[str]]:
    """Names of the worst, median and best frames by mean IoU; no frame is named twice."""
    ranked = sorted(
        (frame for frame in frames if not math.isnan(frame.iou_mean)),
        key=lambda frame: (frame.iou_mean, frame.name),
    )
    names = [frame.name for frame in ranked]
    count = min(count, len(names) // 3) or min(1, len(names))
    worst = names[:count]
    best = [name for name in names[::-1][:count] if name not in worst]
    rest = [name for name in names if name not in worst and name not in best]
    middle = max(0, (len(rest) - count) // 2)
    return {"worst": worst, "median": rest[middle : middle + count], "best": best}


def _save_comparison(
    path: Path, frame: LabelledFrame, labels: NDArray[np.uint8], table: ClassTable
) -> None:
    from trocar.pictures import comparison

    image = comparison(frame.image, frame.mask, labels, table)
    good, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert good
    path.write_bytes(data.tobytes())


def environment() -> dict[str, str]:
    """Versions and machine, for reports."""
    packages = {}
    for name in ("trocar", "torch", "onnxruntime-gpu", "onnxruntime", "numpy", "openvino"):
        try:
            packages[name] = version(name)
        except Exception:
            continue
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **packages,
    }


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
