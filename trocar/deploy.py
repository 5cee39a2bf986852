"""`trocar export`: lends the export room what it may not know, checkpoints and the runtime.

trocar export runs/first --out first.trocar
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cv2

from trocar.contract.bundle import MANIFEST
from trocar.contract.errors import ConfigError, TrocarError
from trocar.export.cli import export_options, run_export

if TYPE_CHECKING:
    from torch import nn

    from trocar.contract.manifest import Manifest
    from trocar.export.parity import Infer

RUN_CONFIG = "run.json"


@click.command()
@export_options
def export(
    source: Path | None, frames_folder: Path | None, frames_limit: int, **flags: Any
) -> None:
    """Export SOURCE (a run folder, checkpoint or float32 bundle) to a bundle that is proven.

    The exported model runs beside its reference on real frames; where they disagree beyond the
    limits nothing is written. Without --frames a run is proven on its own validation frames.
    """
    with _gate_frames(source, frames_folder, frames_limit) as folder:
        run_export(
            load_network,
            open_runner,
            source=source,
            frames_folder=folder,
            frames_limit=frames_limit,
            **flags,
        )


def load_network(path: Path) -> tuple[nn.Module, Manifest]:
    """The deployable network of a run folder or checkpoint, and what it is."""
    from trocar.train.checkpoint import load_deployable

    return load_deployable(path)


def open_runner(model: Path) -> Infer:
    """Opens an ONNX file with the back end that will serve it on CPUs."""
    from trocar.runtime.backends import open_backend

    return open_backend("onnxruntime", model).infer


@contextmanager
def _gate_frames(source: Path | None, folder: Path | None, limit: int) -> Iterator[Path | None]:
    """The folder that was named, or the validation frames of the run in a temporary one."""
    if folder is not None or source is None or not source.exists() or (source / MANIFEST).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="trocar-gate-") as name:
        write_validation_frames(source, Path(name), limit=limit)
        yield Path(name)


def write_validation_frames(run: Path, out: Path, *, limit: int) -> int:
    """Writes validation frames of a run's own data, spread over the set, as images/ and masks/.

    Returns:
        Their number.

    Raises:
        ConfigError: The run does not say where its data is, or the data is gone.
    """
    from trocar.train.checkpoint import checkpoint_in
    from trocar.train.data.readers import open_frames
    from trocar.train.data.splits import with_splits

    remedy = "name a folder of frames with --frames"
    folder = run if run.is_dir() else checkpoint_in(run).parent
    try:
        described = json.loads((folder / RUN_CONFIG).read_text(encoding="utf-8"))
        data = Path(described["data"]["labelled"])
        frames = with_splits(open_frames(data)).subset("val")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{run} does not say where its data is", remedy=remedy) from error
    except TrocarError as error:
        raise ConfigError(f"the data of {run}: {error.message}", remedy=remedy) from error
    step = max(1, len(frames) // limit)
    chosen = frames.items[::step][:limit]
    for kind in ("images", "masks"):
        (out / kind).mkdir()
    for number, item in enumerate(chosen):
        sample = frames.read(item)
        _write_png(out / "images" / f"{number:04d}.png", sample.image[..., ::-1])
        if sample.mask is not None:
            _write_png(out / "masks" / f"{number:04d}.png", sample.mask)
    return len(chosen)


def _write_png(path: Path, image: Any) -> None:
    good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert good
    path.write_bytes(data.tobytes())
