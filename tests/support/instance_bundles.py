"""Bundles of instance models for tests of the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import instance_files as files
from export_helpers import run_onnx

from trocar.export.bundle import bundle_from_onnx
from trocar.export.gate import ExportOptions


def instance_bundle(
    out: Path,
    *,
    data: bytes | None = None,
    location: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """A bundle of `instance_files.query_file`, through the whole gate."""
    bundle_from_onnx(
        files.query_file() if data is None else data,
        files.instance_external(**fields),
        out,
        source="theirs.onnx",
        frames=files.gate_frames(3),
        open_model=run_onnx,
        options=ExportOptions(location=dict(location or {})),
    )
    return out
