"""float16 and int8 against float32 on frames that nothing was trained or calibrated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import SmallNet, manifest_of, run_onnx
from numpy.typing import NDArray
from torch import nn

from trocar.console.export import print_report
from trocar.contract.bundle import open_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ParityError
from trocar.contract.media.pictures import read_image
from trocar.export.bundle import convert_bundle, export_bundle
from trocar.export.gate import ExportOptions
from trocar.export.graph.frame_graph import Normalised
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import GateFrame
from trocar.train.data.phantom import PhantomConfig, phantom_frames

SIZE = (96, 128)
TABLE = ClassTable.from_names(["background", "instrument"])
PRECISIONS = ("fp16", "int8")


def whole(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Instruments as one class; what is ignored stays so."""
    return np.where(parts == 255, parts, (parts > 0).astype(np.uint8))


def phantoms(count: int, *, first_clip: int) -> list[GateFrame]:
    """One frame of each scene, with its truth."""
    config = PhantomConfig(frames=count, size=SIZE, clip_length=1, difficulty=0.2)
    return [
        GateFrame(
            name=f"phantom {first_clip + i}", image=frame.image, ground_truth=whole(frame.parts)
        )
        for i, frame in enumerate(phantom_frames(config, first_clip=first_clip))
    ]


@pytest.fixture(scope="module")
def real(samples: Path) -> list[GateFrame]:
    files = sorted((samples / "cholec_instance_seg_sample" / "img_dir").glob("*.png"))[:4]
    images = [read_image(path) for path in files]
    return [GateFrame(name=p.stem, image=i) for p, i in zip(files, images, strict=True)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learned from a few phantom scenes, in float32."""
    torch.manual_seed(0)
    manifest = manifest_of(SIZE, table=TABLE)
    network = Normalised(SmallNet(len(TABLE), 24), manifest.input)
    frames = phantoms(8, first_clip=0)
    images = torch.from_numpy(np.stack([f.image for f in frames])).permute(0, 3, 1, 2).float()
    masks = torch.from_numpy(np.stack([np.asarray(f.ground_truth) for f in frames])).long()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        logits = network(images)
        nn.functional.cross_entropy(logits, masks, ignore_index=255).backward()
        optimiser.step()
    out = tmp_path_factory.mktemp("sample") / "f32.trocar"
    held_out = phantoms(4, first_clip=1000)
    export_bundle(network.eval(), manifest, out, frames=held_out, open_model=run_onnx)
    return out


def converted(
    bundle: Path, out: Path, precision: str, frames: list[GateFrame], limits: Limits | None = None
):
    calibration = [frame.image for frame in phantoms(6, first_clip=500)]
    options = ExportOptions(precision=precision, calibration=calibration, limits=limits)
    return convert_bundle(bundle, out, frames=frames, open_model=run_onnx, options=options)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_phantom_frames_are_labelled_alike_and_the_figures_are_printed(
    bundle: Path, tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.trocar"
    report = converted(bundle, out, precision, phantoms(4, first_clip=1000))
    limits = Limits.of(precision)
    assert report.metrics["multiclass_frames"] >= 3
    assert report.metrics["equal"] >= limits.min_pixel_agreement
    seen = [row for row in report.classes[1:] if row["pixels"] > 500]
    assert seen
    assert all(row["agreement"] >= limits.min_class_iou for row in seen)
    truth = {side: report.ground_truth[side]["mean_iou"] for side in ("reference", "candidate")}
    assert report.ground_truth["reference"]["classes"][1]["iou"] > 0.3
    assert abs(truth["candidate"] - truth["reference"]) <= limits.max_miou_drop
    print_report(report, out)
    printed = capsys.readouterr().out
    assert f"{report.metrics['equal']:.4%} equal" in printed
    for row in seen:
        assert f"{row['agreement']:.4f}" in printed
    assert open_bundle(out).manifest.precision == precision


@pytest.mark.parametrize("precision", PRECISIONS)
def test_real_frames_are_labelled_alike(
    bundle: Path, tmp_path: Path, precision: str, real: list[GateFrame]
) -> None:
    report = converted(bundle, tmp_path / "small.trocar", precision, real)
    limits = Limits.of(precision)
    assert report.metrics["multiclass_frames"] >= 1
    assert report.metrics["equal"] >= limits.min_pixel_agreement
    assert report.metrics["non_tie_mismatch"] <= limits.max_mismatch


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_figures_are_gated(bundle: Path, tmp_path: Path, precision: str) -> None:
    frames = phantoms(2, first_clip=1000)
    report = converted(bundle, tmp_path / "once.trocar", precision, frames)
    least = report.metrics["mean_logit_difference"] / report.metrics["logit_range"]
    assert least > 0
    strict = Limits.of(precision).with_flags({"mean_logit_share": least * 1e-3})
    with pytest.raises(ParityError):
        converted(bundle, tmp_path / "again.trocar", precision, frames, strict)
    assert not (tmp_path / "again.trocar").exists()
