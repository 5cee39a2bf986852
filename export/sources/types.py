"""What an adapter is asked and what it answers.

request = SourceRequest(origin="smp", path=Path("my_model"), size=(512, 640))

An adapter is a module with the function ``read(request: SourceRequest) -> Found``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import nn

Triple: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What the user says about a network of another library.

    Attributes:
        origin: The library, a name of `trocar.export.sources.origins.origins`.
        path: Folder or file that the library wrote.
        weights: Checkpoint, where ``path`` has several or none.
        architecture: The library's name of the network; empty where a file states it.
        encoder: The library's name of the encoder; empty where a file states it.
        size: Height and width of the network's input in pixels; ``None`` for the file's.
        mean: Mean of each channel in units of 0..1, red first; ``None`` for the file's.
        std: Standard deviation likewise.
        channels: ``rgb`` or ``bgr``; empty for the file's.
        classes: Class table (TOML); ``None`` for the names in the file.
    """

    origin: str
    path: Path
    weights: Path | None = None
    architecture: str = ""
    encoder: str = ""
    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    channels: str = ""
    classes: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the files of a library state.

    Attributes:
        task: What the network does.
        load: From the number of classes to the network with its weights, in evaluation mode.
        architecture: Name of the network, for people.
        weights: The file that the weights are read from.
        parts: Files of the weights, where ``weights`` is a list of several.
        size: Height and width of the network's input in pixels; ``None`` if not stated.
        mean: Mean of each channel in units of 0..1; ``None`` if not stated.
        std: Standard deviation likewise.
        prepare: Normalisation that depends on the image, of ``[N,3,h,w]`` 0..255; ``None`` for
            ``mean`` and ``std``.
        channels: Order of the channels.
        names: Names of the classes by id; ``None`` if not stated.
        output: Name of the output with the scores; empty where it is clear.
        hints: What to say about a value that is asked for, by the name of its flag.
        notes: What the bundle does otherwise than the library, one sentence each.
        provenance: JSON values for the manifest.
    """

    task: Literal["segmentation", "classification"]
    load: Callable[[int], nn.Module]
    architecture: str
    weights: Path
    parts: tuple[Path, ...] = ()
    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    prepare: nn.Module | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    names: tuple[str, ...] | None = None
    output: str = ""
    hints: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights_files(self) -> tuple[Path, ...]:
        """Every file that the weights are read from."""
        return self.parts or (self.weights,)
