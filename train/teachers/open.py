"""Opens a teacher by what a path holds: a run, a bundle, or an ONNX file of any origin.

teacher = open_teacher(Path("runs/large"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from trocar.contract.bundle import open_bundle, sha256_of
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.integrity.guard import check_guard, exported_text
from trocar.contract.manifest import IMAGENET_MEAN, IMAGENET_STD, Manifest
from trocar.train.state.checkpoint import checkpoint_in, load_method
from trocar.train.teachers.graphs import foreign_graph, frame_graph
from trocar.train.teachers.teacher import Teacher


def open_teacher(
    path: Path,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Teacher:
    """Opens a trained segmentation model.

    Args:
        path: A run folder (its best checkpoint, else the last), a ``.ckpt`` file, a bundle, or an
            ``.onnx`` file. A file that Trocar did not export takes normalised float images
            ``[N,3,h,w]`` and returns logits or probabilities ``[N,K,h',w']``.
        mean: Normalisation of such a file, of values 0..1.
        std: Likewise.

    Raises:
        ConfigError: It is no segmentation model.
        DataError: There is nothing, or the file cannot be used.
        CheckpointError: See `trocar.train.state.checkpoint.read_checkpoint`.
        BundleError: See `trocar.contract.bundle.open_bundle`.
    """
    if not path.exists():
        raise DataError(
            f"there is no teacher {path}",
            remedy="name a run folder, a .ckpt file, a bundle or an .onnx file",
        )
    if (path / "manifest.json").is_file():
        bundle = open_bundle(path)
        return _of_manifest(path, bundle.manifest, bundle.read("model.onnx"), kind="bundle")
    if path.suffix == ".onnx":
        model = path.read_bytes()
        text = exported_text(model)
        if text is None:
            return _foreign(path, model, mean=mean, std=std)
        manifest = Manifest.from_json(text, source=str(path))
        check_guard(text, manifest, model, source=str(path))
        return _of_manifest(path, manifest, model, kind="onnx")
    return _of_run(path)


def _of_run(path: Path) -> Teacher:
    file = checkpoint_in(path)
    method, checkpoint = load_method(file)
    network, manifest = method.deployable()
    _check_task(path, manifest.task)
    network.eval().requires_grad_(False)

    def logits(image: Tensor) -> Tensor:
        output: Tensor = network.to(image.device)(image)
        return output

    spec = checkpoint.spec
    return Teacher(
        path=path,
        classes=spec.classes.names,
        channels=len(spec.classes),
        size=(spec.input.height, spec.input.width),
        logits=logits,
        origin={
            "kind": "run",
            "path": str(path),
            "sha256": sha256_of(file),
            "method": checkpoint.method,
            "step": checkpoint.step,
            "trained_on": str(checkpoint.source.get("trained_on", "")),
        },
    )


def _of_manifest(path: Path, manifest: Manifest, model: bytes, *, kind: str) -> Teacher:
    _check_task(path, manifest.task)
    source = manifest.source
    return Teacher(
        path=path,
        classes=manifest.classes.names,
        channels=len(manifest.classes),
        size=(manifest.input.height, manifest.input.width),
        logits=frame_graph(model, source=str(path)),
        origin={
            "kind": kind,
            "path": str(path),
            "sha256": sha256_of(path / "model.onnx" if path.is_dir() else path),
            "method": manifest.method,
            "trained_on": str(source.get("trained_on", "")),
        },
    )


def _foreign(path: Path, model: bytes, *, mean: Sequence[float], std: Sequence[float]) -> Teacher:
    graph = foreign_graph(model, source=str(path), mean=mean, std=std)
    return Teacher(
        path=path,
        classes=None,
        channels=graph.channels,
        size=graph.size,
        logits=graph,
        origin={
            "kind": "foreign onnx",
            "path": str(path),
            "sha256": sha256_of(path),
            "trained_on": "",
        },
    )


def _check_task(path: Path, task: str) -> None:
    if task != "segmentation":
        raise ConfigError(
            f"the teacher {path} is a model for {task}, expected one for segmentation",
            remedy="name a segmentation model as --teacher",
        )
