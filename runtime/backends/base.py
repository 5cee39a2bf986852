"""What a session needs of a backend, and what a backend may offer beyond that.

backend.infer(frames)["labels"]
if isinstance(backend, TakesInputs): backend.set_inputs(tensors)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from trocar.contract.errors import BackendError
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import Profile


class Backend(Protocol):
    """What a session needs of a backend.

    Attributes:
        name: e.g. ``onnxruntime``.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: Precision of the arithmetic, e.g. ``fp32``.
    """

    @property
    def name(self) -> str:
        """Name of the backend."""
        ...

    @property
    def device(self) -> str:
        """Device in use."""
        ...

    @property
    def precision(self) -> str:
        """Precision in use."""
        ...

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; returns the graph's outputs by name.

        The arrays belong to the caller: no later call changes them.
        """
        ...

    def close(self) -> None:
        """Frees what the backend holds; it may not be used afterwards."""
        ...


@runtime_checkable
class HasManifest(Protocol):
    """A backend that reads the manifest from the model's metadata."""

    @property
    def manifest(self) -> Manifest | None:
        """The manifest; ``None`` if the model has none."""
        ...


@runtime_checkable
class TakesInputs(Protocol):
    """A backend that can override inputs which have defaults, e.g. a classifier's classes."""

    def set_inputs(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Overrides inputs by name, for all later calls.

        Raises:
            BackendError: The graph has no such input with a default.
        """
        ...


@runtime_checkable
class TakesNamedInputs(Protocol):
    """A backend that runs graphs of several inputs, e.g. that for NV12."""

    def infer_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Runs the inputs, by name, batch first; returns the graph's outputs by name.

        The arrays belong to the caller: no later call changes them.
        """
        ...


@runtime_checkable
class TakesDeviceInputs(Protocol):
    """A backend that reads frames in the memory of its GPU."""

    def infer_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one frame; returns the graph's outputs by name, with a batch of one.

        Args:
            inputs: By name: `trocar.runtime.device_memory.planes.Plane` on this GPU, and arrays of
                the host with a batch.

        Returns:
            Values in device memory; their ``numpy()`` copies to the host.
        """
        ...


@runtime_checkable
class HasProfile(Protocol):
    """A backend that takes stated shapes only, e.g. an engine."""

    @property
    def profile(self) -> Profile:
        """Batch and frame size that it takes."""
        ...


@runtime_checkable
class HasNotes(Protocol):
    """A backend that tells what a person should know of its runs."""

    @property
    def notes(self) -> tuple[str, ...]:
        """E.g. shapes that run without a CUDA graph."""
        ...


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """How a backend is opened.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Required precision of the arithmetic; ``None`` for the graph's own.
        threads: CPU threads; ``None`` for one per usable core.
        spinning: ``onnxruntime``: whether idle threads spin. ``None`` for yes. Off in pipelines,
            where other threads decode and encode on the same cores.
        graphs: ``onnxruntime`` and ``tensorrt``: whether CUDA graphs are recorded and replayed.
            ``None`` for the backend's default.
        data: The model's bytes, if their hash was checked; ``None`` reads the file. So what runs is
            what was checked, whatever happens to the file meanwhile.
    """

    device: str = "cpu"
    precision: str | None = None
    threads: int | None = None
    spinning: bool | None = None
    graphs: bool | None = None
    data: bytes | None = field(default=None, repr=False)


def refuse_options(backend: str, **options: bool | None) -> None:
    """Refuses options that a backend does not have.

    Args:
        backend: Name of the backend.
        options: Options that it does not have, by name; ``None`` means not set.

    Raises:
        BackendError: One of them is set.
    """
    for name, value in options.items():
        if value is not None:
            raise BackendError(
                f"backend {backend} has no option {name}, got {name}={value}",
                remedy=f"leave {name} out, or use another backend",
            )
