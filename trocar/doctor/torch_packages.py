"""The check of torch and torchvision: by their metadata, or by importing them.

check_torch().detail                # "2.14.1; not imported"
check_torch(load=True).detail       # "2.14.1; no GPU that it can use, trains on CPU"
"""

from __future__ import annotations

import importlib.metadata

from trocar.contract.tensorrt.gpu import query_driver
from trocar.doctor.finding import Finding
from trocar.doctor.probe import last_line, run_python, version_of

_REMEDY = "install both from one place: pip install -c constraints.txt torch torchvision"
_USE = (
    "import torch, torchvision; from torchvision.ops import nms; "
    "nms(torch.zeros(1, 4), torch.zeros(1), 0.5); "
    "print(torch.__version__, torchvision.__version__, torch.cuda.is_available())"
)


def check_torch(*, load: bool = False) -> Finding:
    """Whether torch and torchvision fit each other.

    The versions come from the packages' metadata, for importing both takes seconds. They are
    imported, in a process of their own, when ``load`` is set or a GPU is there to be used.
    """
    if version_of("torch") is None:
        return Finding(
            check="torch",
            state="absent",
            detail="not installed; running bundles does not need it",
            remedy="to train: pip install 'trocar[train,export]'",
        )
    fault = _mismatch()
    if fault:
        return Finding(check="torch", state="fail", detail=fault, remedy=_REMEDY)
    if load or query_driver().count:
        return _imported()
    detail = f"{version_of('torch')}; not imported (trocar doctor --load imports it)"
    return Finding(check="torch", state="ok", detail=detail)


def _mismatch() -> str:
    """What the metadata says against the pair; empty when it says nothing."""
    torch, vision = version_of("torch") or "", version_of("torchvision")
    if vision is None:
        return f"torch {torch} without torchvision"
    wanted = _wanted_torch(torch)
    if wanted:
        return f"torchvision {vision} wants torch {wanted}, but torch {torch} is installed"
    kinds = {name: version.partition("+")[2] for name, version in (("torch", torch), ("v", vision))}
    if all(kinds.values()) and len(set(kinds.values())) > 1:
        return f"torch {torch} and torchvision {vision} are built for different devices"
    return ""


def _wanted_torch(version: str) -> str:
    """What torchvision wants of torch, where a version does not meet it; else empty.

    Without the package packaging, which the extra ``train`` installs, nothing is compared.
    """
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return ""

    for text in importlib.metadata.requires("torchvision") or ():
        wanted = Requirement(text)
        if wanted.name == "torch" and not wanted.specifier.contains(version, prereleases=True):
            return str(wanted.specifier)
    return ""


def _imported() -> Finding:
    answer = run_python(_USE)
    if answer.returncode:
        detail = f"torch {version_of('torch')} with torchvision {version_of('torchvision')}: "
        return Finding(
            check="torch",
            state="fail",
            detail=detail + last_line(answer.stderr),
            remedy=_REMEDY,
        )
    torch, _, uses_gpu = answer.stdout.split()
    if uses_gpu == "False":
        detail = f"{torch}; no GPU that it can use, trains on CPU"
        return Finding(check="torch", state="ok", detail=detail)
    return Finding(check="torch", state="ok", detail=f"{torch} with CUDA")
