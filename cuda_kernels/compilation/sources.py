"""The kernel sources: where they are, what they include and which GPUs can run them.

included_files(KERNELS / "hard.cu")  # [.../hard.cu, .../portable.cuh]
"""

from __future__ import annotations

import re
from pathlib import Path

from trocar.contract.errors import BackendError

KERNELS = Path(__file__).resolve().parents[1] / "kernels"

HOST = "host"
"""Folder inside ``KERNELS`` that only the host compiler reads."""

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")
"""Real architectures that the kernels are compiled for; ``compute_75`` gives PTX for any."""

Defines = tuple[tuple[str, str], ...]
"""Preprocessor names with their values: the compile-time choices of a source."""

_MIN_CAPABILITY = {"soft_forward_tensor.cu": 80}
"""Minimum compute capability, times ten, of a source; 75 for a source that is not listed."""


def included_files(source: Path, *, host: bool = False) -> list[Path]:
    """List a source and every project file that it includes, each once.

    Args:
        source: A file in a kernel folder.
        host: Include the files of ``host/`` too; a device compiler never reads them.

    Returns:
        Existing files, the source first. An include is looked up beside the file that names it,
        then beside the source.
    """
    waiting, files = [source], list[Path]()
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.append(path)
        for name in re.findall(r'^\s*#include "([^"]+)"', path.read_text(encoding="utf-8"), re.M):
            candidates = (path.parent / name, source.parent / name)
            match = next((file for file in candidates if file.is_file()), None)
            if match is not None and (host or match.parent.name != HOST):
                waiting.append(match)
    return files


def supports(file: str, architecture: str) -> bool:
    """Tell whether a source can run on an architecture, ``sm_XX`` or ``compute_XX``."""
    return int(re.sub(r"\D", "", architecture)) >= _MIN_CAPABILITY.get(file, 75)


def check_architecture(file: str, architecture: str) -> None:
    """Refuse a GPU that is too old for a source.

    Raises:
        BackendError: The source needs a higher compute capability.
    """
    if not supports(file, architecture):
        raise BackendError(
            f"{file} needs tensor cores with TF32, which sm_{_MIN_CAPABILITY.get(file, 75)} and "
            f"later have; this GPU is {architecture}",
            remedy="use backend='cuda', whose kernels run from sm_75 up",
        )
