"""Opens a network of another library: ``trocar export --from smp FOLDER``.

    opened = open_source(SourceRequest(origin="smp", path=Path("my_model"), size=(512, 640)))
    opened.network, opened.external.manifest, opened.notes

What a file of the library states is taken from it. What is not known is asked for, all at once. No
code in a file is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from trocar.contract.bundle import sha256_of
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.contract.text.words import first_line
from trocar.export.graph.imported.external_model import adapt_network
from trocar.export.graph.input_spec import ExternalModel, ModelSpec
from trocar.export.sources.types import Found, SourceRequest


@dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A network of another library, ready for `trocar.export.bundle.export_bundle`.

    Attributes:
        network: Takes ``[N,3,h,w]`` float32 RGB 0..255.
        external: Its input spec and manifest.
        notes: What the bundle does otherwise than the library, one sentence each.
    """

    network: nn.Module
    external: ExternalModel
    notes: tuple[str, ...]


def open_source(request: SourceRequest) -> OpenedSource:
    """Reads the files, makes the network, loads its weights and adapts input and output.

    Raises:
        ConfigError: A value is not known; the message names every flag that states one.
        MissingExtraError: The library is not installed.
        CheckpointError: The weights cannot be read safely or do not fit.
        DataError: A file is missing or malformed.
        ArgumentError: The network cannot be exported, or its output does not fit the classes.
    """
    if not request.path.exists():
        raise DataError(
            f"there is no {request.path}",
            remedy="name the folder or file on this machine; nothing is downloaded",
        )
    adapter = importlib.import_module(f"{__package__}.adapters.{request.origin}")
    _check_flags(request, adapter.TAKES)
    with _malformed_in_words(request):
        found: Found = adapter.read(request)
    external = _external(request, found)
    with _malformed_in_words(request):
        network = found.load(len(external.manifest.classes))
    network = adapt_network(
        network,
        external,
        name=f"{found.architecture} of {found.weights}",
        prepare=found.prepare if request.mean is None else None,
    )
    return OpenedSource(network=network, external=external, notes=found.notes)


@contextmanager
def _malformed_in_words(request: SourceRequest) -> Iterator[None]:
    """An error that names SOURCE, for values of a type or range that the library never writes."""
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError,
            TypeError, ValueError) as error:  # fmt: skip
        raise DataError(
            f"{request.path} is not as {request.origin} writes it: {type(error).__name__}: "
            f"{first_line(error)}",
            remedy="copy it again from where it was made; if it was edited, undo that",
        ) from error


def _check_flags(request: SourceRequest, takes: tuple[str, ...]) -> None:
    flags = ("weights", "architecture", "encoder")
    unused = [f"--{flag}" for flag in flags if getattr(request, flag) and flag not in takes]
    if unused:
        raise ConfigError(
            f"--from {request.origin} does not use {', '.join(unused)}",
            remedy="leave it out: the files in SOURCE state it",
        )


def _external(request: SourceRequest, found: Found) -> ExternalModel:
    size = request.size or found.size
    mean, std = request.mean or found.mean, request.std or found.std
    is_prepared = found.prepare is not None and request.mean is None
    table = _table(request, found)
    faults = []
    if size is None:
        faults.append(("--size WIDTHxHEIGHT", "the size of its input"))
    if not is_prepared and (mean is None or std is None):
        faults.append(("--mean R,G,B and --std R,G,B", "its normalisation"))
    if table is None:
        faults.append(("--classes FILE", "the names of its classes"))
    if faults:
        hints = [text for flag, text in found.hints.items() if any(flag in f for f, _ in faults)]
        raise ConfigError(
            f"{request.path} does not state {', '.join(what for _, what in faults)}",
            remedy="; ".join([f"pass {', '.join(flag for flag, _ in faults)}", *hints]),
        )
    assert size is not None
    assert table is not None
    if is_prepared or mean is None or std is None:
        # The values reach the network as they are: 0..255.
        mean, std = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
    spec = ModelSpec(
        height=size[0],
        width=size[1],
        task=found.task,
        name=found.architecture,
        mean=mean,
        std=std,
        channels="bgr" if (request.channels or found.channels) == "bgr" else "rgb",
        normalise=not is_prepared,
        output=found.output,
    )
    manifest = Manifest(
        name=found.architecture,
        task=found.task,
        method="foreign",
        classes=table,
        input=InputSpec(height=size[0], width=size[1], mean=mean, std=std),
        source={
            "from": request.origin,
            "architecture": found.architecture,
            "weights": {path.name: sha256_of(path) for path in found.weights_files},
            "channels": spec.channels,
            "notes": list(found.notes),
            **found.provenance,
        },
    )
    return ExternalModel(spec, manifest)


def _table(request: SourceRequest, found: Found) -> ClassTable | None:
    if request.classes is not None:
        return ClassTable.read(request.classes)
    if found.names is None:
        return None
    try:
        return ClassTable.from_names(
            found.names, instruments=() if found.task == "classification" else None
        )
    except DataError as error:
        raise DataError(
            f"the class names in {request.path} cannot be used: {error.message}",
            remedy="pass a class table with --classes FILE",
        ) from error
