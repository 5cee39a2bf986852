"""Frames for the parity gate from the validation data of a training run.

with validation_frames_of(Path("runs/first"), max_frames=16) as folder:
    sorted((folder / "images").iterdir())
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trocar.contract.config import fields_of
from trocar.contract.errors import ConfigError, TrocarError
from trocar.contract.media.pictures import write_picture

if TYPE_CHECKING:
    from trocar.train.data.classification.sample import PhotoSet
    from trocar.train.data.sample import FrameSet


@contextmanager
def validation_frames_of(run: Path, *, max_frames: int) -> Iterator[Path]:
    """A temporary folder with validation frames of a run; see `write_validation_frames`."""
    with tempfile.TemporaryDirectory(prefix="trocar-gate-") as name:
        write_validation_frames(run, Path(name), max_frames=max_frames)
        yield Path(name)


def write_validation_frames(run: Path, out: Path, *, max_frames: int) -> int:
    """Writes validation frames of a run, spread evenly over the set, as images/ and masks/.

    Returns:
        The number of frames.

    Raises:
        ConfigError: The run does not state where its data is, or the data no longer exists.
    """
    frames: Any = _open_validation(run)
    chosen = frames.items[:: max(1, len(frames) // max_frames)][:max_frames]
    for kind in ("images", "masks"):
        (out / kind).mkdir()
    for number, item in enumerate(chosen):
        sample = frames.read(item)
        # A set of photographs gives plain images, cropped as the classifier sees them.
        image, mask = getattr(sample, "image", sample), getattr(sample, "mask", None)
        write_picture(out / "images" / f"{number:04d}.png", image, compression=1)
        if mask is not None:
            write_picture(out / "masks" / f"{number:04d}.png", mask, compression=1)
    return len(chosen)


def _open_validation(run: Path) -> FrameSet | PhotoSet:
    """The validation set on which a run was scored, opened with the run's own settings."""
    from trocar.contract.config import from_mapping
    from trocar.contract.text.toml import read_toml
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
            _without_other_data(method),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{run} does not state where its data is", remedy=remedy) from error
    except TrocarError as error:
        raise ConfigError(f"the data of {run}: {error.message}", remedy=remedy) from error
    frames: FrameSet | PhotoSet = opened.validation
    return frames


def _without_other_data(method: Any) -> Any:
    """The method as one that needs labelled frames only: the gate reads no other set."""
    return SimpleNamespace(name=method.name, task=method.task, required_data=(), optional_data=())


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {spec.name for spec in fields_of(cls)}
    return {name: value for name, value in values.items() if name in names}
