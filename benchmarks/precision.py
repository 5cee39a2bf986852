"""Precision and speed of one network as float32, float16 and int8 on this machine's CPU.

    python benchmarks/precision.py --encoder resnet18 --size 512x640 --steps 60 --out out.json

Trains DeepLabV3+ for a moment on phantom scenes (or takes ``--run``, a run folder), exports it,
converts it, and prints for held-out phantom frames and, where they are, the real sample frames:
equal label pixels, IoU of one against the other, IoU against ground truth. Speeds are medians of
interleaved rounds in one run, so they are to be read as ratios. Written into ``docs/export.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.bundle import convert_bundle, export_bundle
from trocar.export.graph import Normalised
from trocar.export.limits import Limits
from trocar.export.onnx import twin_from_onnx
from trocar.export.parity import GateFrame, Infer, ParityReport, check_parity
from trocar.export.prove import Options
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table

REAL = (
    Path(__file__).resolve().parents[1].parent
    / "shared"
    / "data"
    / "cholec_instance_seg_sample"
    / "img_dir"
)
CROP = 3
"""Training crops are this much smaller than a frame, along each side."""

# Limits that never refuse: this program reports, and says of each row whether the gate would pass.
OPEN = Limits(
    equal=0, class_agreement=0, boundary=0, max_logit_share=0, mean_logit_share=1, far=1,
    lost=10**9, truth_drop=1,
)  # fmt: skip


def phantoms(count: int, size: tuple[int, int], *, first_clip: int) -> list[GateFrame]:
    """Frames of scenes that are drawn from ``first_clip`` on, two of each scene."""
    config = PhantomConfig(frames=count, size=size, clip_length=2, difficulty=0.4)
    return [
        GateFrame(name=f"phantom {i}", image=frame.image, truth=frame.types)
        for i, frame in enumerate(phantom_frames(config, first_clip=first_clip))
    ]


def trained(encoder: str, table: ClassTable, size: tuple[int, int], steps: int) -> nn.Module:
    """DeepLabV3+ after ``steps`` of Adam on random crops of phantom frames."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    spec = InputSpec(height=size[0], width=size[1])
    network = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=len(table))
    whole = Normalised(network, spec).train()
    optimiser = torch.optim.Adam(whole.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    frames = phantoms(24, size, first_clip=0)
    # The network takes multiples of 16.
    height, width = (side // CROP // 16 * 16 for side in size)
    for step in range(steps):
        images, masks = [], []
        for index in rng.integers(len(frames), size=4):
            y, x = rng.integers(size[0] - height + 1), rng.integers(size[1] - width + 1)
            part = (slice(y, y + height), slice(x, x + width))
            images.append(frames[index].image[part])
            masks.append(frames[index].truth[part])
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        target = torch.from_numpy(np.stack(masks)).long()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(whole(batch), target, ignore_index=255)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return whole.eval()


def onnxruntime_runner(threads: int) -> Callable[[Path], Infer]:
    """Opens ONNX files with ONNX Runtime on so many threads."""

    def run(path: Path) -> Infer:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda frames: dict(zip(names, session.run(None, {"frame": frames}), strict=True))

    return run


def openvino_runner(path: Path, precision: str, threads: int) -> Infer:
    """Opens an ONNX file with OpenVINO, its precision stated."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(str(path), "CPU", hints)
    return lambda frames: {k.get_any_name(): v for k, v in model(frames).items()}


def speeds(models: dict[str, Infer], frame: NDArray[np.uint8], rounds: int) -> dict[str, float]:
    """Median milliseconds of each model; rounds go through all of them in turn."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for index in range(rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            model(frame[None])
            if index:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def row(report: ParityReport) -> dict[str, Any]:
    """What the table prints of a report."""
    foreground = [c for c in report.classes[1:] if c["pixels"]]
    return {
        "equal": report.numbers["equal"],
        "foreground_iou": min((c["agreement"] for c in foreground), default=None),
        "boundary_f": min((c["boundary_f"] for c in foreground), default=None),
        "far": report.numbers["far"],
        "informative": report.numbers["informative_frames"],
        "truth": {side: report.truth[side]["mean_iou"] for side in ("reference", "candidate")}
        if report.truth
        else None,
    }


def real_frames() -> list[GateFrame]:
    """The real sample frames beside the checkout; none where they are absent."""
    files = sorted(REAL.glob("*.png")) if REAL.is_dir() else []
    return [
        GateFrame(name=p.stem, image=cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB))
        for p in files
    ]


def main() -> None:
    """Runs everything once and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", default="512x640", help="HEIGHTxWIDTH of the network")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=12, help="held-out frames of each kind")
    parser.add_argument("--calibration", type=int, default=24, help="frames for int8")
    parser.add_argument("--run", type=Path, help="a run folder instead of training")
    parser.add_argument("--out", type=Path, help="JSON of the figures")
    args = parser.parse_args()
    height, width = (int(v) for v in args.size.split("x"))
    size = (height, width)
    torch.set_num_threads(args.threads)
    if args.run is not None:
        from trocar.train.checkpoint import load_deployable

        network, manifest = load_deployable(args.run)
    else:
        table = phantom_table()
        network = trained(args.encoder, table, size, args.steps)
        manifest = Manifest(
            name=args.encoder,
            task="segmentation",
            method="benchmark",
            classes=table,
            input=InputSpec(height=height, width=width),
        )
    held_out = phantoms(args.frames, size, first_clip=1000)
    calibration = [f.image for f in phantoms(args.calibration, size, first_clip=500)]
    real = real_frames()[: args.frames]
    runner = onnxruntime_runner(args.threads)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_bundle(
            network, manifest, folder / "fp32", frames=held_out, runner=runner,
            options=Options(limits=OPEN),
        )  # fmt: skip
        made = {"fp32": folder / "fp32"}
        for precision, recipe in (("fp16", "cpu"), ("int8", "cpu"), ("int8", "tensorrt")):
            key = precision if precision == "fp16" else f"int8 {recipe}"
            out = folder / key.replace(" ", "-")
            options = Options(precision=precision, recipe=recipe, calibration=calibration)
            try:
                convert_bundle(made["fp32"], out, frames=held_out, runner=runner, options=options)
                passed: bool | str = True
            except Exception as error:
                passed = str(error)
            rows[key] = {"gate": passed}
            if passed is True:
                made[key] = out
        whole_file = made["fp32"] / "model.onnx"
        whole = runner(whole_file)
        (folder / "twin.onnx").write_bytes(twin_from_onnx(whole_file.read_bytes()))
        reference = runner(folder / "twin.onnx")
        models = {"onnxruntime fp32": whole}
        for key, path in made.items():
            if key != "fp32":
                models[f"onnxruntime {key}"] = runner(path / "model.onnx")
                rows[key]["bytes"] = (path / "model.onnx").stat().st_size
        rows["fp32"] = {"bytes": (made["fp32"] / "model.onnx").stat().st_size, "gate": True}
        for hint in ("f32", "bf16"):
            key = f"openvino {hint}"
            models[key] = openvino_runner(made["fp32"] / "model.onnx", hint, args.threads)
        for label, model in models.items():
            if label == "onnxruntime fp32":
                continue
            key = label.removeprefix("onnxruntime ")
            entry = rows.setdefault(key, {})
            for kind, frames in (("phantom", held_out), ("real", real)):
                if frames:
                    report, _ = check_parity(reference, model, frames, manifest, limits=OPEN)
                    entry[kind] = row(report)
        times = speeds(models, held_out[0].image, args.rounds)
    base = times["onnxruntime fp32"]
    print(f"{args.encoder} {height}x{width}, {args.threads} threads, {platform.processor() or ''}")
    for label, ms in times.items():
        entry = rows.get(label.removeprefix("onnxruntime "), {})
        equal = {k: f"{entry[k]['equal']:.4%}" for k in ("phantom", "real") if k in entry}
        print(f"{label:24} {ms:8.1f} ms  {base / ms:5.2f}x  equal {equal}")
    result = {"arguments": vars(args), "milliseconds": times, "rows": rows}
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
