"""Selection of the backend by name or by device.

select_backend(None, labels.device)  # torch on the CPU, the kernels on a CUDA device
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trocar.contract.errors import ArgumentError, BackendError, MissingExtraError
from trocar.cuda_kernels.backends._launch_packages import installed_package

if TYPE_CHECKING:
    from torch import device as Device

    from trocar.cuda_kernels.backends.base import Backend

BACKENDS = ("reference", "torch", "cuda", "cuda-tensor")


def default_backend(device: Device) -> str:
    """Name the backend that is used if the caller names none.

    ``torch`` on the CPU; on a CUDA device ``cuda`` if pycuda or ``cuda.bindings`` is installed,
    else ``torch``.
    """
    if device.type == "cuda" and installed_package() is not None:
        return "cuda"
    return "torch"


def select_backend(backend: str | None, device: Device) -> Backend:
    """Return the backend for tensors of a device.

    Raises:
        ArgumentError: No backend has this name, or it does not accept tensors of this device.
        BackendError: The backend needs an NVIDIA GPU, and there is none or it is too old.
        MissingExtraError: The backend needs a package that is not installed.
    """
    check_backend(backend)
    chosen = backend or default_backend(device)
    if chosen in ("cuda", "cuda-tensor"):
        _check_cuda(device)
        from trocar.cuda_kernels.backends.cuda import cuda_backend

        return cuda_backend(device, tensor_cores=chosen == "cuda-tensor")
    if chosen == "torch":
        from trocar.cuda_kernels.backends.torch import TorchBackend

        return TorchBackend()
    from trocar.cuda_kernels.backends.reference import ReferenceBackend

    return ReferenceBackend()


def check_backend(backend: str | None) -> None:
    """Refuse a name that is not a backend."""
    if backend is not None and backend not in BACKENDS:
        raise ArgumentError(
            f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}",
            remedy="leave it out to choose by the device of the tensor",
        )


def _check_cuda(device: Device) -> None:
    import torch

    if installed_package() is None:
        raise MissingExtraError(
            "the cuda backend launches its kernels through cuda.bindings or pycuda, and neither is "
            "installed",
            remedy="pip install 'trocar[gpu]' (it needs an NVIDIA driver), or use backend='torch'",
        )
    if not torch.cuda.is_available():
        raise BackendError(
            "the cuda backend needs an NVIDIA GPU, and torch sees none here",
            remedy="install the NVIDIA driver and a CUDA build of torch, or use backend='torch'",
        )
    if device.type != "cuda":
        raise ArgumentError(
            f"the cuda backend takes tensors on a CUDA device, this one is on {device}",
            remedy="move it with .to('cuda'), or leave backend out",
        )
