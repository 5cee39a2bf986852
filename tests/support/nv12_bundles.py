"""The tiny bundle with a second graph for NV12, and frames of it that show instruments.

bundle = make_nv12_bundle(tmp_path / "planes.trocar")
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import make_tiny_bundle, tiny_frame

from trocar.commands._models import open_model, open_nv12
from trocar.contract.bundle import GOLDEN, MODEL, open_bundle, write_bundle
from trocar.contract.manifest import NV12_GOLDEN
from trocar.export.golden import MAX_SIDE
from trocar.export.graph.model_file import with_logits_output
from trocar.export.nv12_form import Nv12Form, make_nv12
from trocar.export.parity.types import GateFrame


def nv12_form(bundle: Path, folder: Path, **changes: Any) -> Nv12Form:
    """The NV12 form of a tiny bundle, made by the exporter and compared with the RGB form."""
    opened = open_bundle(bundle)
    model = opened.read(MODEL)
    folder.mkdir(exist_ok=True)

    def write(name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    given = {
        "frames": [
            GateFrame(name=f"{i}", image=tiny_frame(300 + i, 401 - i, shift=4 * i))
            for i in range(3)
        ],
        "golden": tiny_frame(257, 321),
        "rgb": open_model(write("rgb.onnx", with_logits_output(model))),
        "open_nv12": open_nv12,
        "write": write,
        **changes,
    }
    return make_nv12(model, opened.manifest, **given)


def make_nv12_bundle(path: Path) -> Path:
    """Writes the tiny bundle with both graphs."""
    plain = make_tiny_bundle(path.with_suffix(".plain"))
    form = nv12_form(plain, path.with_suffix(".work"))
    opened = open_bundle(plain)
    manifest = replace(opened.manifest, extra={**opened.manifest.extra, "nv12": dict(form.about)})
    files = {MODEL: opened.read(MODEL), GOLDEN: opened.read(GOLDEN), **form.files}
    write_bundle(path, manifest, files)
    return path


def changed_golden(bundle: Path, out: Path, **arrays: Any) -> Path:
    """The bundle with other arrays in the golden frame of its second graph; ``None`` leaves out."""
    opened = open_bundle(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files}
    with np.load(io.BytesIO(files[NV12_GOLDEN])) as file:
        given = {**{name: file[name] for name in file.files}, **arrays}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in given.items() if value is not None})
    files[NV12_GOLDEN] = buffer.getvalue()
    write_bundle(out, opened.manifest, files)
    return out


assert MAX_SIDE > 321, "the golden frame is not resized"
