"""Converts a float32 graph to float16 or int8, written into the ONNX file itself.

data, about = convert(data, "fp16", judge=lambda candidate: gate(candidate))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trocar.contract.errors import BackendError
from trocar.export.parity import Frame, ParityReport

Judge = Callable[[bytes], ParityReport]
Progress = Callable[[str, int, int], None]


def convert(
    data: bytes,
    precision: str,
    *,
    judge: Judge,
    recipe: str = "cpu",
    calibration: Sequence[Frame] = (),
    keep: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """Converts a float32 model.

    Returns:
        The ONNX file, and what was done, fit for JSON.
    """
    if precision == "fp32":
        return data, {}
    raise BackendError(f"{precision} is not there yet", remedy="export fp32")
