"""Flags and work of ``trocar export``; the roof lends what other rooms know.

    @click.command()
    @export_options
    def export(**flags): run_export(load, runner, **flags)

``load(path)`` gives ``(network, manifest)`` of a run folder or checkpoint; ``runner(path)`` opens
an ONNX file with the runtime that will serve it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trocar.contract.bundle import MANIFEST, check_output
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.flags import config_flags
from trocar.contract.manifest import Manifest
from trocar.export.limits import Limits

if TYPE_CHECKING:
    from torch import nn

    from trocar.export.parity import ParityReport
    from trocar.export.prove import Options, Progress, Runner

F = TypeVar("F", bound=Callable[..., Any])
Load = Callable[[Path], "tuple[nn.Module, Manifest]"]

GATE_FRAMES = 16
CALIBRATION_FRAMES = 64

_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.argument("source", type=click.Path(path_type=Path), required=False),
    click.option(
        "--out", required=True, type=click.Path(path_type=Path), help="Bundle folder to write."
    ),
    click.option(
        "--frames",
        "frames_folder",
        type=click.Path(path_type=Path),
        help="Folder of frames for the parity gate: images, or images/ and masks/.",
    ),
    click.option(
        "--frames-limit",
        type=click.IntRange(min=1),
        default=GATE_FRAMES,
        show_default=True,
        help="Largest number of frames that the gate takes, spread over the folder.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16", "int8"]),
        default="fp32",
        show_default=True,
        help="Precision written into the graph.",
    ),
    click.option(
        "--recipe",
        type=click.Choice(["cpu", "tensorrt"]),
        default="cpu",
        show_default=True,
        help="What int8 is made for: ONNX Runtime on CPUs, or TensorRT.",
    ),
    click.option(
        "--calibrate",
        type=click.Path(path_type=Path),
        help="Folder of your own frames, for int8.",
    ),
    click.option(
        "--keep-float32",
        "keep",
        multiple=True,
        metavar="LAYER",
        help="Layer that stays float32, by name, or by prefix ending with a dot; repeatable.",
    ),
    click.option(
        "--pictures",
        type=click.Path(path_type=Path),
        help="Folder for pictures of the worst frames. [default: OUT with .parity]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace a bundle that is there already."),
)


def export_options(function: F) -> F:
    """Adds the flags of ``trocar export``, the gate's limits among them."""
    decorated = config_flags(Limits)(function)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def run_export(
    load: Load,
    runner: Runner,
    *,
    source: Path | None,
    out: Path,
    frames_folder: Path | None,
    frames_limit: int,
    precision: str,
    recipe: str,
    calibrate: Path | None,
    keep: tuple[str, ...],
    pictures: Path | None,
    overwrite: bool,
    **limits: Any,
) -> ParityReport:
    """Exports a checkpoint or converts a bundle, shows progress and prints what the gate found.

    Raises:
        ParityError: Refused by the gate.
        DataError: Missing or unusable frames.
        TrocarError: See `trocar.export.bundle.export_bundle`.
    """
    from trocar.export.bundle import convert_bundle, export_bundle
    from trocar.export.prove import Options

    _check_flags(source, frames_folder, precision, calibrate)
    assert source is not None
    assert frames_folder is not None
    check_output(out, overwrite=overwrite)
    options = Options(
        precision=precision,
        recipe=recipe,
        limits=Limits.of(precision).with_flags(limits),
        keep=keep,
        overwrite=overwrite,
        pictures=pictures or out.with_suffix(".parity"),
    )
    with _progress_bar() as progress:
        if (source / MANIFEST).is_file():
            from trocar.contract.bundle import open_bundle

            manifest = open_bundle(source).manifest
            options = _calibrated(options, calibrate, manifest)
            report = convert_bundle(
                source,
                out,
                frames=_frames(frames_folder, frames_limit, manifest),
                runner=runner,
                options=options,
                progress=progress,
            )
        else:
            network, manifest = load(source)
            options = _calibrated(options, calibrate, manifest)
            report = export_bundle(
                network,
                manifest,
                out,
                frames=_frames(frames_folder, frames_limit, manifest),
                runner=runner,
                options=options,
                progress=progress,
            )
    print_report(report, out)
    return report


def _check_flags(
    source: Path | None, frames: Path | None, precision: str, calibrate: Path | None
) -> None:
    faults = []
    if source is None:
        faults.append("nothing to export: name a run folder, a checkpoint or a bundle")
    elif not source.exists():
        faults.append(f"there is no {source}")
    if frames is None:
        faults.append("--frames is missing: the parity gate needs frames with instruments in view")
    if precision == "int8" and calibrate is None:
        faults.append("--precision int8 needs --calibrate DIR with your own frames")
    if precision != "int8" and calibrate is not None:
        faults.append(f"--calibrate is for int8 only, not for {precision}")
    if faults:
        raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")


def _frames(folder: Path, limit: int, manifest: Manifest) -> list[Any]:
    from trocar.export.frames import read_frames

    return read_frames(
        folder,
        classes=len(manifest.classes),
        limit=limit,
        masks=manifest.task == "segmentation",
    )


def _calibrated(options: Options, folder: Path | None, manifest: Manifest) -> Options:
    if folder is None:
        return options
    from trocar.export.frames import read_frames

    try:
        frames = read_frames(
            folder, classes=len(manifest.classes), limit=CALIBRATION_FRAMES, masks=False
        )
    except DataError as error:
        raise DataError(f"cannot calibrate: {error.message}", remedy=error.remedy) from error
    return replace(options, calibration=[frame.image for frame in frames])


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """One rich line a stage; nothing but plain text where the output is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield tell


def print_report(report: ParityReport, out: Path) -> None:
    """Prints the gate's numbers: totals, one line a class, notes."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    numbers = report.numbers
    console.print(
        f"{out}: {report.precision}, {numbers['equal']:.4%} equal to {report.reference} on "
        f"{int(numbers['frames'])} frames; largest logit difference "
        f"{numbers.get('largest_logit_difference', float('nan')):.3g} "
        f"(spread {numbers['logit_spread']:.3g})"
    )
    table = Table("class", "agreement", *(["boundary F", "pixels"]), box=None)
    truth = {row["name"]: row for row in report.truth.get("candidate", {}).get("classes", ())}
    if truth:
        for side in ("IoU", "Dice"):
            table.add_column(f"{side} (truth)")
    for row in report.classes:
        cells = [row["name"], _shown(row["agreement"]), _shown(row.get("boundary_f"))]
        cells.append(str(row.get("pixels", row.get("frames", ""))))
        if truth:
            cells += [_shown(truth[row["name"]][key]) for key in ("iou", "dice")]
        table.add_row(*cells)
    console.print(table)
    sizes = report.extra.get("onnx_bytes", {})
    times = report.extra.get("milliseconds", {})
    if sizes:
        console.print("size: " + ", ".join(f"{k} {v / 1e6:.2f} MB" for k, v in sizes.items()))
    if times:
        console.print(
            "one frame here, median: " + ", ".join(f"{k} {v:.1f} ms" for k, v in times.items())
        )
    for note in report.notes:
        console.print(f"note: {note}")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
