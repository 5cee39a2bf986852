"""The second form of a bundle, which takes NV12: made, and compared with the first.

    form = make_nv12(model, manifest, frames=frames, golden=golden, rgb=infer, open_nv12=open_nv12,
                     write=write)
    form.files            # nv12.onnx and nv12.npz

The reference is the exported model itself on the RGB frame that the same planes give. What differs
is known: the RGB path rounds and clamps every pixel and repeats chroma, this graph does neither.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ParityError
from trocar.contract.manifest import NV12_GOLDEN, NV12_MODEL, Manifest
from trocar.contract.media.nv12 import COLOURS, Nv12Picture, nv12_from_rgb, nv12_inputs
from trocar.export.golden import golden_npz, least_score
from trocar.export.graph.model_file import with_logits_output
from trocar.export.graph.nv12 import with_nv12_input
from trocar.export.parity.check import OnFrame, check_parity
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Frame, GateFrame, Infer, Outputs, failure_text

OpenNv12: TypeAlias = Callable[[Path], Callable[[Mapping[str, NDArray[Any]]], Outputs]]
"""Opens a graph for NV12 with the runtime that will serve it; it takes inputs by name."""

NV12_LIMITS = replace(
    Limits(),
    min_pixel_agreement=0.99,
    min_class_iou=0.95,
    min_boundary_f1=0.95,
    logit_share=0.1,
    max_logit_share=0.0,
    mean_logit_share=0.02,
    max_mismatch=0.002,
    max_miou_drop=0.01,
    min_cosine=0.99,
    min_instance_iou=0.9,
    max_score_difference=0.05,
)
"""How far the NV12 form may be from the RGB form, for every precision: behind its first nodes, each
is the same graph."""


@dataclass(frozen=True)
class Nv12Form:
    """What a bundle gains.

    Attributes:
        files: The graph and its golden frame, by name.
        about: ``equal`` and ``least``: mean and smallest fraction of labels that are equal to the
            RGB form's; ``frames``: their number.
    """

    files: Mapping[str, bytes]
    about: Mapping[str, float]


def make_nv12(
    model: bytes,
    manifest: Manifest,
    *,
    frames: Sequence[GateFrame],
    golden: Frame,
    rgb: Infer,
    open_nv12: OpenNv12,
    write: Callable[[str, bytes], Path],
    on_frame: OnFrame | None = None,
) -> Nv12Form:
    """Makes the graph for NV12 of an exported model and compares the two.

    Args:
        model: The exported model, with its manifest.
        manifest: The bundle's.
        frames: Frames of the gate; each is converted to NV12, in turn in all `COLOURS`.
        golden: The bundle's golden frame.
        rgb: Runs ``model`` with its logits, for RGB frames.
        open_nv12: Opens a graph for NV12.
        write: Stores a file, by name, where ``open_nv12`` can read it.
        on_frame: Called after each frame.

    Raises:
        ParityError: It differs from the RGB form by more than `NV12_LIMITS`.
        ArgumentError: The graph does more with frames than to resize them.
    """
    planes = _Planes()
    graph = with_nv12_input(model)
    with_logits = with_nv12_input(with_logits_output(model))
    runs = open_nv12(write(NV12_MODEL, graph))
    runs_logits = open_nv12(write("nv12_with_logits.onnx", with_logits))
    report, _ = check_parity(
        lambda images: rgb(np.stack([planes.of(image).rgb for image in images])),
        lambda images: runs(planes.inputs(images)),
        frames,
        manifest,
        limits=NV12_LIMITS,
        with_logits=(lambda images: runs_logits(planes.inputs(images)))
        if manifest.task == "segmentation"
        else None,
        names=("the RGB form", "the NV12 form"),
        on_progress=on_frame,
    )
    if report.failures:
        raise ParityError(
            "the NV12 form differs from the RGB form: " + failure_text(report.failures),
            remedy="leave --nv12 out: the bundle then takes RGB frames, and converts NV12",
        )
    shares = [float(row.get("equal", 1.0)) for row in report.frames]
    return Nv12Form(
        files={
            NV12_MODEL: graph,
            NV12_GOLDEN: _golden(planes.of(golden), manifest, runs=runs, runs_logits=runs_logits),
        },
        about={
            "equal": float(np.mean(shares)),
            "least": min(shares),
            "frames": len(shares),
        },
    )


def _golden(
    picture: Nv12Picture,
    manifest: Manifest,
    *,
    runs: Callable[[Mapping[str, NDArray[Any]]], Outputs],
    runs_logits: Callable[[Mapping[str, NDArray[Any]]], Outputs],
) -> bytes:
    """``golden.npz`` of the NV12 form: the RGB frame that the planes give, and the planes."""
    inputs = nv12_inputs([picture])
    data = golden_npz(
        picture.rgb,
        lambda _: runs(inputs),
        lambda _: runs_logits(inputs),
        task=manifest.task,
        golden_margin=manifest.golden_margin,
        lowest=least_score(manifest),
    )
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        **arrays,
        luma=picture.luma,
        chroma=picture.chroma,
        colour=np.array([COLOURS.index(picture.colour)], np.uint8),
    )
    return buffer.getvalue()


class _Planes:
    """Frames as NV12, each converted once; its content decides which of the colours it gets."""

    def __init__(self) -> None:
        self._known: dict[bytes, Nv12Picture] = {}

    def of(self, image: Frame) -> Nv12Picture:
        digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
        if digest not in self._known:
            self._known[digest] = nv12_from_rgb(image, COLOURS[digest[0] % len(COLOURS)])
        return self._known[digest]

    def inputs(self, images: Frame) -> dict[str, NDArray[Any]]:
        return nv12_inputs([self.of(image) for image in images])
