"""Hugging Face transformers: a folder of `save_pretrained` with config.json and weights.

found = read(SourceRequest(origin="hf", path=Path("segformer-b0")))

Networks whose names end in ``ForSemanticSegmentation`` or ``ForImageClassification`` are exported.
Size and normalisation are those of ``preprocessor_config.json``, class names those of ``id2label``.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import nn

from trocar.contract.errors import ArgumentError, CheckpointError
from trocar.contract.text.words import first_line
from trocar.export.graph.imported.checkpoint import unreadable
from trocar.export.sources.files import library, read_object, sides, triple
from trocar.export.sources.types import Found, SourceRequest, Triple

TAKES = ("architecture",)

_TASKS: tuple[tuple[str, Literal["segmentation", "classification"]], ...] = (
    ("ForSemanticSegmentation", "segmentation"),
    ("ForImageClassification", "classification"),
)
_SHARDED = "*.index.json"
_FETCHED = "use_pretrained_backbone"
_BILINEAR = 2


def read(request: SourceRequest) -> Found:
    """Finds network, weights, size, normalisation and class names.

    Raises:
        TrocarError: See `trocar.export.sources.open.open_source`.
    """
    folder = request.path
    config = read_object(folder / "config.json")
    if config.get("auto_map"):
        raise ArgumentError(
            f"{folder}/config.json names code of its own (auto_map), which would be run",
            remedy="write a function that makes the network and pass --module PACKAGE:FUNCTION",
        )
    name = request.architecture or str((config.get("architectures") or [""])[0])
    task = _task(name, folder)
    transformers = library("transformers", "transformers")
    kind = getattr(transformers, name, None)
    if not isinstance(kind, type):
        raise ArgumentError(
            f"transformers {transformers.__version__} has no {name}",
            remedy="install the version that wrote the folder: "
            f"pip install transformers=={config.get('transformers_version', 'VERSION')}",
        )
    weights = _weights(folder)

    def load(classes: int) -> nn.Module:
        # The backbone's weights are in the folder too; none are fetched.
        settings = {"use_pretrained_backbone": False} if config.get(_FETCHED) else {}
        return _load(transformers, kind, folder, settings)

    settings, notes = _preprocessing(folder)
    return Found(
        task=task,
        load=load,
        architecture=name,
        weights=weights,
        parts=_parts(weights),
        names=_names(config.get("id2label")),
        output="logits",
        hints={"--size": _SIZE_HINT},
        notes=(*notes, *_left_over(folder, task)),
        **settings,
    )


_SIZE_HINT = "preprocessor_config.json of the folder would state size and normalisation"


def _task(name: str, folder: Path) -> Literal["segmentation", "classification"]:
    for ending, task in _TASKS:
        if name.endswith(ending):
            return task
    reason = "it does not return one score for each class"
    if re.search(r"(Universal|Instance|Panoptic)Segmentation$|^DetrForSegmentation$", name):
        reason = (
            "it returns masks of queries, and how they become one label at a pixel depends on the "
            "data it was trained for"
        )
    raise ArgumentError(
        f"{folder} is a {name or 'network without a name'}: {reason}",
        remedy="export a network whose name ends in ForSemanticSegmentation or "
        "ForImageClassification, or write a module that returns logits and pass --module",
    )


def _weights(folder: Path) -> Path:
    """The file of the weights; of several parts, their index."""
    listed = [folder / "model.safetensors", *sorted(folder.glob(_SHARDED))]
    listed.append(folder / "pytorch_model.bin")
    for path in listed:
        if path.is_file():
            return path
    raise CheckpointError(
        f"{folder} has neither model.safetensors nor pytorch_model.bin",
        remedy="download the folder whole: hf download NAME --local-dir FOLDER",
    )


def _parts(weights: Path) -> tuple[Path, ...]:
    """The files that an index names; empty where the weights are one file."""
    if not weights.name.endswith(".index.json"):
        return ()
    names = sorted(set(read_object(weights)["weight_map"].values()))
    return tuple(weights.parent / Path(name).name for name in names)


def _load(transformers: Any, kind: Any, folder: Path, settings: Mapping[str, Any]) -> nn.Module:
    with _quiet(transformers):
        try:
            network, info = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                attn_implementation="eager",
                output_loading_info=True,
                **settings,
            )
        except pickle.UnpicklingError as error:
            raise unreadable(_weights(folder), error) from error
        except (OSError, RuntimeError, TypeError, ValueError, ImportError) as error:
            raise CheckpointError(
                f"{folder} cannot be loaded: {first_line(error)}",
                remedy="save it again with save_pretrained(FOLDER, safe_serialization=True)",
            ) from error
    missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} weights of {kind.__name__}, e.g. {missing[0]}",
            remedy="name a folder that holds the trained network, its head included",
        )
    result: nn.Module = network.eval()
    return result


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar and no log lines of the library."""
    log = transformers.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


def _names(labels: object) -> tuple[str, ...] | None:
    """Names by id; names that the library made up (``LABEL_0``) are none."""
    if not isinstance(labels, Mapping):
        return None
    names = {str(key): str(value) for key, value in labels.items()}
    if set(names) != {str(i) for i in range(len(names))}:
        return None
    if all(value == f"LABEL_{key}" for key, value in names.items()):
        return None
    return tuple(names[str(i)] for i in range(len(names)))


def _preprocessing(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Size, mean, standard deviation and channels, and what the bundle does otherwise."""
    path = folder / "preprocessor_config.json"
    if path.is_file():
        values = read_object(path)
    elif (folder / "processor_config.json").is_file():
        values = read_object(folder / "processor_config.json").get("image_processor") or {}
    else:
        return {}, []
    mean, std = _normalisation(values)
    notes = []
    if values.get("do_resize", True) and values.get("resample", _BILINEAR) != _BILINEAR:
        notes.append("the library resizes otherwise (resample); the bundle resizes bilinear")
    if values.get("do_center_crop"):
        notes.append("the library crops the centre of a frame; the bundle takes the whole frame")
    found: dict[str, Any] = {"size": _size(values), "mean": mean, "std": std}
    if values.get("do_flip_channel_order"):
        found["channels"] = "bgr"
    return found, notes


def _size(values: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size that the network sees, where it is one size."""
    keys = ["crop_size"] if values.get("do_center_crop") else []
    if values.get("do_resize", True):
        keys.append("size")
    for key in keys:
        size = values.get(key)
        if isinstance(size, Mapping):
            size = [size.get("height"), size.get("width")]
        elif isinstance(size, int):
            size = [size, size]
        if sides(size) is not None:
            return sides(size)
    return None


def _normalisation(values: Mapping[str, Any]) -> tuple[Triple | None, Triple | None]:
    """Mean and standard deviation in units of 0..1, whatever the values are scaled by."""
    scale, offset = 1.0, 0.0
    if values.get("do_rescale", True):
        scale = float(values.get("rescale_factor") or 1 / 255)
        offset = 1.0 if values.get("rescale_offset") else 0.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if values.get("do_normalize", True):
        stated = triple(values.get("image_mean")), triple(values.get("image_std"))
        if stated[0] is None or stated[1] is None:
            return None, None
        mean, std = stated[0], stated[1]
    unit = 255 * scale
    a, b, c = ((value + offset) / unit for value in mean)
    d, e, f = (value / unit for value in std)
    return (a, b, c), (d, e, f)


def _left_over(folder: Path, task: str) -> tuple[str, ...]:
    path = folder / "preprocessor_config.json"
    if task == "segmentation" and path.is_file():
        values = read_object(path)
        if values.get("do_reduce_labels") or values.get("reduce_labels"):
            return (
                "it was trained without a background class (do_reduce_labels): every pixel gets "
                "one of its classes",
            )
    return ()
