"""Accuracy against latency of ten networks: which one to take on which machine.

    python benchmarks/architectures.py --work runs/architectures --results benchmarks/results

Trains every network on phantom scenes with the parts of the instruments as classes, from random
weights, equal steps, frames and losses; scores the last step on test frames, which nothing is
trained or selected on. Then exports each at 512x640 and times ONNX Runtime and OpenVINO in rounds
that take turns, so that other work on the machine falls on all of them. Finished runs are not
repeated; every call measures the latency once more, and the table says which networks change their
order between measurements. ``--only`` does one part. Writes architectures.json, .md and .png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from helpers.methods.scenes import scenes
from helpers.methods.training import train_data, train_or_load

from trocar.contract.bundle import write_atomic
from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.bundle import export_bundle
from trocar.export.cpu_session import infer_on_cpu
from trocar.runtime.session import Session
from trocar.train.metrics.evaluate import evaluate_segmentation
from trocar.train.networks.architectures import make_network
from trocar.train.networks.segmentation import NetworkConfig

mpl.use("Agg")

import matplotlib.pyplot as plt

TICKS = (5, 10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000)
"""Milliseconds that the picture marks."""
LIVE = (512, 640)
"""Height and width at which latency is measured."""
BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


@dataclass(frozen=True)
class Candidate:
    """One network of the comparison.

    Attributes:
        architecture: Name of the architecture.
        encoder: Name of the encoder.
        channels: Channels of the decoder.
    """

    architecture: str
    encoder: str
    channels: int

    @property
    def name(self) -> str:
        """Name in tables and file names."""
        return f"{self.architecture} {self.encoder.removeprefix('tu-')}"


CANDIDATES = (
    Candidate("deeplabv3plus", "tu-mobilenetv3_small_100", 128),
    Candidate("fpn", "tu-test_efficientnet", 32),
    Candidate("fpn", "tu-lcnet_050", 64),
    Candidate("fpn", "tu-mobilenetv3_small_100", 64),
    Candidate("fpn", "tu-mobilenetv4_conv_small", 64),
    Candidate("unet", "tu-mobilenetv3_small_100", 64),
    Candidate("segformer", "mit_b0", 128),
    Candidate("fpn", "resnet18", 128),
    Candidate("deeplabv3plus", "resnet18", 256),
    Candidate("unet", "resnet34", 128),
)
"""The first is the network that `trocar train` takes unless told."""


def settings(candidate: Candidate, size: tuple[int, int]) -> dict[str, Any]:
    """Settings of the method `supervised`."""
    return {
        "architecture": candidate.architecture,
        "encoder": candidate.encoder,
        "decoder_channels": candidate.channels,
        "size": size,
    }


def exported(candidate: Candidate, folder: Path) -> tuple[Path, float]:
    """A bundle at the live size with random weights, and millions of parameters."""
    table = ClassTable.from_names(["background", "shaft", "wrist", "tip"])
    manifest = Manifest(
        name="latency",
        task="segmentation",
        method="supervised",
        classes=table,
        input=InputSpec(height=LIVE[0], width=LIVE[1]),
    )
    config = NetworkConfig(**settings(candidate, LIVE))
    torch.manual_seed(0)
    network = make_network(config, classes=len(table), input=manifest.input)
    network.eval().requires_grad_(False)
    parameters = sum(one.numel() for one in network.parameters()) / 1e6
    bundle = folder / f"{candidate.name.replace(' ', '-')}.trocar"
    if not (bundle / "manifest.json").is_file():
        frames = list(np.random.default_rng(0).integers(0, 255, (4, *LIVE, 3), dtype=np.uint8))
        export_bundle(
            network,
            manifest,
            bundle,
            frames=frames,
            open_model=lambda path: infer_on_cpu(path.read_bytes()),
        )
    return bundle, round(parameters, 2)


def latencies(
    bundles: Mapping[str, Path], *, threads: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds of one frame by network and backend; rounds take turns."""
    frame = np.random.default_rng(1).integers(0, 255, (1, *LIVE, 3), dtype=np.uint8)
    sessions = {
        (name, backend): Session.open(path, backend=backend, threads=threads)
        for name, path in bundles.items()
        for backend in BACKENDS
    }
    found: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    for _ in range(rounds):
        for key, session in sessions.items():
            session.infer(frame)
            for _ in range(3):
                began = time.perf_counter()
                session.infer(frame)
                found[key].append(1e3 * (time.perf_counter() - began))
    for session in sessions.values():
        session.close()
    medians: dict[str, dict[str, float]] = {}
    for (name, backend), times in found.items():
        medians.setdefault(name, {})[backend] = round(float(np.median(times)), 1)
    return medians


def swapped(measurements: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Pairs of networks of which not every measurement finds the same one faster, by backend."""
    said = []
    for backend, title in BACKENDS.items():
        for one, other in combinations(sorted(set.intersection(*map(set, measurements))), 2):
            faster = {times[one][backend] < times[other][backend] for times in measurements}
            if len(faster) > 1:
                said.append(f"{one} and {other} ({title})")
    return said


def best(rows: Mapping[str, Mapping[str, Any]], backend: str) -> list[str]:
    """Networks that no other one beats in both accuracy and latency, fastest first."""
    order = sorted(rows, key=lambda name: (rows[name][backend], -rows[name]["iou"]))
    front: list[str] = []
    for name in order:
        if not front or rows[name]["iou"] > rows[front[-1]]["iou"]:
            front.append(name)
    return front


def table(rows: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """All networks as Markdown, fastest on ONNX Runtime first."""
    first = CANDIDATES[0].name
    front = best(rows, "onnxruntime")
    one_seed = len(about["seeds"]) == 1
    seeds = (
        "one seed: differences of a few points prove nothing"
        if one_seed
        else f"mean ± deviation over {len(about['seeds'])} seeds"
    )
    order = "; ".join(about["swapped"]) or "none"
    lines = [
        "# Networks: accuracy against latency",
        "",
        "Written by `benchmarks/architectures.py`. IoU: mean over the parts of the instruments on",
        f"{about['test']} test frames of phantoms, in points; {seeds}.",
        f"Training: {about['steps']} steps of batch 4 from random weights at {about['size']}, "
        f"learning rate {about['lr']:g}.",
        f"Latency: one frame at {LIVE[1]}x{LIVE[0]}, {about['threads']} threads, float32; median "
        f"of {about['rounds']} rounds that take turns,",
        f"mean of {about['measurements']} measurements at different times; as a multiple of the "
        "first row in brackets.",
        *([about["machine"]] if about["machine"] else []),
        "**Bold**: no other network is both faster on ONNX Runtime and more accurate.",
        "",
        f"Pairs in another order in another measurement: {order}.",
        "",
        "| network | parameters, millions | IoU | ONNX Runtime, ms | OpenVINO, ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in sorted(rows, key=lambda name: (name != first, rows[name]["onnxruntime"])):
        row = rows[name]
        title = f"**{name}**" if name in front else name
        times = [f"{row[one]:.0f} ({row[one] / rows[first][one]:.2f})" for one in BACKENDS]
        spread = "" if one_seed else f" ± {row['deviation']:.1f}"
        lines.append(
            f"| {title} | {row['parameters']:.2f} | {row['iou']:.1f}{spread} "
            f"| {' | '.join(times)} |"
        )
    missing = [one.name for one in CANDIDATES if one.name not in rows]
    if missing:
        lines += ["", f"Not measured: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def picture(rows: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Draws accuracy against latency, one panel a backend; numbers are those of the list below."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 5.4), sharey=True)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.94, bottom=0.3, wspace=0.05)
    numbers = {name: number for number, name in enumerate(rows, 1)}
    for panel, backend in zip(panels, BACKENDS, strict=True):
        front = best(rows, backend)
        panel.plot(
            [rows[name][backend] for name in front],
            [rows[name]["iou"] for name in front],
            color="#0072b2",
            linewidth=1.2,
            zorder=1,
        )
        for name, row in rows.items():
            on = name in front
            panel.errorbar(
                row[backend],
                row["iou"],
                yerr=row["deviation"],
                fmt="o",
                color="#0072b2" if on else "#888888",
                capsize=2,
            )
            panel.annotate(
                str(numbers[name]),
                (row[backend], row["iou"]),
                xytext=(0, 6 if on else -13),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color="black" if on else "#666666",
            )
        panel.set_xscale("log")
        low, high = min(r[backend] for r in rows.values()), max(r[backend] for r in rows.values())
        panel.set_xlim(0.85 * low, 1.2 * high)
        panel.set_xticks([tick for tick in TICKS if 0.85 * low < tick < 1.2 * high])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.set_title(BACKENDS[backend])
        panel.set_xlabel(f"latency at {LIVE[1]}x{LIVE[0]}, ms")
        panel.grid(visible=True, which="both", color="#e4e4e4", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("IoU on held-out phantoms, points")
    for name, number in numbers.items():
        column, row = divmod(number - 1, -(-len(rows) // 3))
        figure.text(0.06 + 0.32 * column, 0.15 - 0.04 * row, f"{number}  {name}", fontsize=9)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def accuracies(
    args: argparse.Namespace, candidates: Sequence[Candidate]
) -> dict[str, dict[str, Any]]:
    """IoU of every network in points, trained where an earlier call has not finished it."""
    width, height = map(int, args.size.split("x"))
    frames = scenes(args.work, "laparoscopy", parts=True)
    test = frames.subset("test")
    rows: dict[str, dict[str, Any]] = {}
    for candidate in candidates:
        scores = []
        for seed in args.seeds:
            network = train_or_load(
                args.work / f"{args.size}, {args.steps} steps" / candidate.name / f"seed{seed}",
                "supervised",
                settings(candidate, (height, width)),
                data=train_data(seed, frames.subset("train"), frames.subset("val")),
                steps=args.steps,
                lr=args.lr,
            )
            found = evaluate_segmentation(network, test, size=(height, width))
            scores.append(100 * found["iou_mean"])
        deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
        rows[candidate.name] = {
            "iou": round(float(np.mean(scores)), 2),
            "deviation": round(deviation, 2),
            "scores": [round(one, 2) for one in scores],
        }
        print(candidate.name, rows[candidate.name], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare networks: accuracy against latency.")
    parser.add_argument("--work", type=Path, default=Path("runs/architectures"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", default="160x128", help="of training, WIDTHxHEIGHT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["train", "latency", "table"], help="one part")
    parser.add_argument("--machine", default="", help="a sentence about the machine")
    parser.add_argument("--results", type=Path, help="folder of architectures.json, .md and .png")
    parser.add_argument("--networks", nargs="+", default=[one.name for one in CANDIDATES])
    args = parser.parse_args()
    candidates = [one for one in CANDIDATES if one.name in args.networks]
    if len(candidates) < len(args.networks) or CANDIDATES[0] not in candidates:
        parser.error(
            f"--networks is {args.networks}, expected names of {[one.name for one in CANDIDATES]}, "
            f"among them {CANDIDATES[0].name}, which the others are compared with"
        )
    measured = args.work / "latencies.json"
    measurements = json.loads(measured.read_text("utf-8")) if measured.is_file() else []
    if args.only in (None, "latency"):
        bundles = {one.name: exported(one, args.work)[0] for one in candidates}
        measurements.append(latencies(bundles, threads=args.threads, rounds=args.rounds))
        write_atomic(measured, (json.dumps(measurements, indent=1) + "\n").encode())
        for name, times in measurements[-1].items():
            print(name, times, flush=True)
    if args.only == "latency":
        return
    rows = accuracies(args, candidates)
    if args.only == "train":
        return
    if not measurements or any(
        one.name not in times for one in candidates for times in measurements
    ):
        parser.error(f"{measured} has not all networks: measure them with --only latency first")
    for candidate in candidates:
        row = rows[candidate.name]
        row["parameters"] = exported(candidate, args.work)[1]
        for backend in BACKENDS:
            each = [times[candidate.name][backend] for times in measurements]
            row[backend] = round(float(np.mean(each)), 1)
            row[f"{backend} measurements"] = each
    about = {
        "steps": args.steps,
        "seeds": args.seeds,
        "lr": args.lr,
        "size": args.size,
        "threads": args.threads,
        "rounds": args.rounds,
        "measurements": len(measurements),
        "swapped": swapped(measurements),
        "test": len(scenes(args.work, "laparoscopy", parts=True).subset("test")),
        "machine": args.machine,
        "torch": torch.__version__,
    }
    text = table(rows, about)
    print(text)
    if args.results:
        document = {**about, "networks": rows}
        write_atomic(
            args.results / "architectures.json", (json.dumps(document, indent=1) + "\n").encode()
        )
        write_atomic(args.results / "architectures.md", text.encode())
        picture(rows, args.results / "architectures.png")


if __name__ == "__main__":
    main()
