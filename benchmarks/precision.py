"""Precision and speed of one network as float32, bfloat16, float16 and int8 on this CPU.

    python benchmarks/precision.py prepare --work /tmp/precision --encoder resnet18 --size 640x512
    python benchmarks/precision.py time --work /tmp/precision --results benchmarks/results

``prepare`` trains DeepLabV3+ briefly on phantom scenes (or loads the run folder ``--run``), exports
and converts it through the parity gate, and compares every configuration with float32 on held-out
phantom frames and, if present, the real sample frames. ``time`` times the configurations in
interleaved rounds on an otherwise idle machine; only the ratios of its medians are meaningful.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from helpers.precision.tables import CONFIGURATIONS, cpu, table
from numpy.typing import NDArray

from trocar.contract.bundle import MODEL, PARITY, open_bundle
from trocar.contract.errors import ParityError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.parity.check import check_parity
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import GateFrame, Infer, ParityReport

# Limits that accept everything, for a conversion that the gate refuses: the table gives its speed
# and says that it was refused.
OPEN = Limits(
    min_pixel_agreement=0, min_class_iou=0, min_boundary_f1=0, max_logit_share=0,
    mean_logit_share=1, max_mismatch=1, max_missed_components=10**9, max_miou_drop=1,
)  # fmt: skip
CONVERSIONS = ("fp16", "int8")


def onnxruntime_runner(threads: int) -> Callable[[Path], Infer]:
    """Open ONNX files with ONNX Runtime on this number of threads."""

    def run(path: Path) -> Infer:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda frames: dict(zip(names, session.run(None, {"frame": frames}), strict=True))

    return run


def opened(way: str, work: Path, threads: int) -> Infer:
    """Opens one of `CONFIGURATIONS`."""
    bundle, precision, _ = CONFIGURATIONS[way]
    path = work / bundle / MODEL
    if way.startswith("onnxruntime"):
        return onnxruntime_runner(threads)(path)
    import openvino

    hint = "bf16" if precision == "bf16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda frames: {k.get_any_name(): v for k, v in model(frames).items()}


def prepare(args: argparse.Namespace) -> None:
    """Train, export, convert and compare; a stopped call can be repeated and continues."""
    import torch
    from helpers.precision.data import phantoms, real_frames, trained

    from trocar.export.bundle import convert_bundle, export_bundle
    from trocar.export.gate import ExportOptions
    from trocar.export.graph.model_file import with_logits_output
    from trocar.train.data.phantom import parts_table

    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    width, height = (int(v) for v in args.size.split("x"))
    if args.run is not None:
        from trocar.train.state.checkpoint import load_deployable

        network, manifest = load_deployable(args.run)
        height, width = manifest.input.height, manifest.input.width
    else:
        spec = InputSpec(height=height, width=width)
        table = parts_table()
        kept = work / "network.pt"
        if not kept.is_file():
            network = trained(args.encoder, table, (height, width), args.steps)
            torch.save(network, kept)
        network = torch.load(kept, weights_only=False)
        manifest = Manifest(
            name=args.encoder, task="segmentation", method="benchmark", classes=table, input=spec
        )
    held_out = phantoms(args.frames, (height, width), first_clip=1000)
    calibration = [f.image for f in phantoms(args.calibration, (height, width), first_clip=500)]
    sets = {"phantom": held_out, "real": real_frames()[: args.frames]}
    runner = onnxruntime_runner(args.threads)
    if not (work / "fp32").is_dir():
        export_bundle(network, manifest, work / "fp32", frames=held_out, open_model=runner)
    notes = work / "refused.json"
    refused: dict[str, str] = json.loads(notes.read_text()) if notes.is_file() else {}
    for precision in CONVERSIONS:
        if (work / precision).is_dir():
            continue
        print(f"convert to {precision}", flush=True)
        settings: dict[str, Any] = {"precision": precision, "calibration": calibration}
        todo: dict[str, Any] = {
            "frames": held_out,
            "open_model": runner,
            "on_progress": print_progress,
        }
        try:
            convert_bundle(
                work / "fp32", work / precision, options=ExportOptions(**settings), **todo
            )
        except ParityError as error:
            refused[precision] = error.message
            notes.write_text(json.dumps(refused))
            settings["limits"] = OPEN
            convert_bundle(
                work / "fp32", work / precision, options=ExportOptions(**settings), **todo
            )
    whole = (work / "fp32" / MODEL).read_bytes()
    (work / "with_logits.onnx").write_bytes(with_logits_output(whole))
    reference = runner(work / "with_logits.onnx")
    rows: dict[str, Any] = {}
    for way, (bundle, precision, _) in CONFIGURATIONS.items():
        print(f"compare {way}", flush=True)
        done = open_bundle(work / bundle)
        about = json.loads(done.read(PARITY))["extra"].get("conversion", {})
        rows[way] = {
            "bytes": done.model.stat().st_size,
            "float32_layers": [len(about.get("float32_layers", [])), about.get("layers", 0)],
            "refused": refused.get(bundle, ""),
        }
        model = opened(way, work, args.threads)
        for kind, frames in sets.items():
            if frames:
                rows[way][kind] = compared(reference, model, frames, manifest, precision)
    about = {k: str(v) for k, v in vars(args).items() if k not in ("call", "work")}
    about["size"] = f"{height}x{width}"
    (work / "agreement.json").write_text(json.dumps({"arguments": about, "rows": rows}, indent=1))


def print_progress(stage: str, done: int, total: int) -> None:
    """Progress, a line a step."""
    print(f"  {stage} {done}/{total}", flush=True)


def compared(
    reference: Infer, model: Infer, frames: list[GateFrame], manifest: Manifest, precision: str
) -> dict[str, Any]:
    """Agreement with float32, judged by the default limits of the precision."""
    limits = Limits.of(precision)
    report: ParityReport = check_parity(reference, model, frames, manifest, limits=limits)[0]
    foreground = [c for c in report.classes[1:] if c["pixels"]]
    return {
        "frames": len(frames),
        "equal": report.metrics["equal"],
        "iou": min((c["agreement"] for c in foreground), default=None),
        "boundary_f": min((c["boundary_f"] for c in foreground), default=None),
        "far": report.metrics["non_tie_mismatch"],
        "truth": {
            side: report.ground_truth[side]["mean_iou"] for side in ("reference", "candidate")
        }
        if report.ground_truth
        else None,
        "faults": [failure.text for failure in report.failures],
    }


def speeds(models: dict[str, Infer], frame: NDArray[np.uint8], rounds: int) -> dict[str, float]:
    """Median milliseconds of each model; rounds go through all of them in turn.

    Each timed run follows one of the same model that does not count: threads of the model before
    spin on for tens of milliseconds, and its weights lie in the cache.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    for index in range(rounds + 2):
        for name, model in models.items():
            model(frame[None])
            start = time.perf_counter()
            model(frame[None])
            if index > 1:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(args: argparse.Namespace) -> None:
    """Time what `prepare` wrote, and write the table."""
    from helpers.precision.data import phantoms

    found = json.loads((args.work / "agreement.json").read_text())
    height, width = (int(v) for v in found["arguments"]["size"].split("x"))
    frame = phantoms(1, (height, width), first_clip=1000)[0].image
    models = {way: opened(way, args.work, args.threads) for way in CONFIGURATIONS}
    times = speeds(models, frame, args.rounds)
    found.update(milliseconds=times, threads=args.threads, cpu=cpu(), rounds=args.rounds)
    text = table(found)
    print(text)
    if args.results is not None:
        encoder = found["arguments"]["encoder"]
        (args.results / f"precision-{encoder}.json").write_text(json.dumps(found, indent=1) + "\n")
        (args.results / f"precision-{encoder}.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(required=True)
    making = parts.add_parser("prepare")
    making.add_argument("--encoder", default="resnet18")
    making.add_argument("--size", default="640x512", help="WIDTHxHEIGHT of the network")
    making.add_argument("--steps", type=int, default=500)
    making.add_argument("--frames", type=int, default=12, help="held-out frames of each kind")
    making.add_argument("--calibration", type=int, default=24, help="frames for int8")
    making.add_argument("--run", type=Path, help="a run folder instead of training")
    making.set_defaults(call=prepare)
    timing = parts.add_parser("time")
    timing.add_argument("--rounds", type=int, default=15)
    timing.add_argument("--results", type=Path, help="folder for the table and the figures")
    timing.set_defaults(call=measure)
    for part in (making, timing):
        part.add_argument("--work", type=Path, required=True, help="folder for what is made")
        part.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
