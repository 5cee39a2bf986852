"""`trocar export`: lends the export room what it may not know, checkpoints and the runtime.

trocar export runs/first --out first.trocar
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import cv2

from trocar.commands._gate_options import export_options
from trocar.contract.bundle import MANIFEST
from trocar.contract.config import fields_of
from trocar.contract.errors import ConfigError, TrocarError
from trocar.export.cli import run_export

if TYPE_CHECKING:
    from torch import nn

    from trocar.contract.manifest import Manifest
    from trocar.export.parity.types import Infer
    from trocar.train.data.classification.sample import PhotoSet
    from trocar.train.data.sample import FrameSet


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
            engine_runner=open_engine_runner,
            source=source,
            frames_folder=folder,
            frames_limit=frames_limit,
            **flags,
        )


def load_network(path: Path) -> tuple[nn.Module, Manifest]:
    """The deployable network of a run folder or checkpoint, and what it is."""
    from trocar.train.state.checkpoint import load_deployable

    return load_deployable(path)


def open_runner(model: Path) -> Infer:
    """Opens an ONNX file with the back end that will serve it on CPUs."""
    from trocar.runtime.backends import open_backend

    return open_backend("onnxruntime", model).infer


def open_engine_runner(flavour: str, engine: Path, manifest: Manifest) -> Infer:
    """Opens a serialized engine with the back end of its flavour, on the first GPU."""
    from trocar.runtime.backends import open_backend

    return open_backend(flavour, engine, manifest, device="cuda:0").infer


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
    frames: Any = _validation_frames(run)
    chosen = frames.items[:: max(1, len(frames) // limit)][:limit]
    for kind in ("images", "masks"):
        (out / kind).mkdir()
    for number, item in enumerate(chosen):
        sample = frames.read(item)
        # A set of photographs reads plain pictures, cut out as the classifier sees them.
        image, mask = getattr(sample, "image", sample), getattr(sample, "mask", None)
        _write_png(out / "images" / f"{number:04d}.png", image[..., ::-1])
        if mask is not None:
            _write_png(out / "masks" / f"{number:04d}.png", mask)
    return len(chosen)


def _validation_frames(run: Path) -> FrameSet | PhotoSet:
    """The validation frames or photographs that a run was scored on, opened as it opened them."""
    from trocar.contract.config import from_mapping
    from trocar.contract.toml import read_toml
    from trocar.train.data.config import DataConfig, DatasetPaths
    from trocar.train.data.open import open_data
    from trocar.train.state.checkpoint import checkpoint_in, load_method
    from trocar.train.state.run_folder import CONFIG
    from trocar.train.state.settings import RunConfig

    remedy = "name a folder of frames with --frames"
    file = checkpoint_in(run)
    method, checkpoint = load_method(file)
    source = str(run)
    try:
        recipe = read_toml(file.parent / CONFIG)
        paths = DatasetPaths(
            **{
                name: Path(path)
                for name, path in checkpoint.source["data"].items()
                if name in ("data", "validation")
            }
        )
        opened = open_data(
            paths,
            from_mapping(DataConfig, _known(DataConfig, recipe), source=source),
            from_mapping(RunConfig, _known(RunConfig, recipe), source=source),
            _without_needs(method),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{run} does not say where its data is", remedy=remedy) from error
    except TrocarError as error:
        raise ConfigError(f"the data of {run}: {error.message}", remedy=remedy) from error
    frames: FrameSet | PhotoSet = opened.validation
    return frames


def _without_needs(method: Any) -> Any:
    """The method as a reader of labelled frames alone: the gate needs no other set."""
    return SimpleNamespace(name=method.name, task=method.task, required_data=(), optional_data=())


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {spec.name for spec in fields_of(cls)}
    return {name: value for name, value in values.items() if name in names}


def _write_png(path: Path, image: Any) -> None:
    good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert good
    path.write_bytes(data.tobytes())
