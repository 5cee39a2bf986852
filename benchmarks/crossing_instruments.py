"""Compare instances with connected regions where instruments of one class cross.

    python benchmarks/crossing_instruments.py --work runs/crossing --results benchmarks/results

``center-offset`` and ``supervised`` train on the same phantom scenes for equal steps, from the same
encoder. Both are scored by what `trocar run` reports: the instances of the one, the connected
regions of the other. Finished runs are not repeated. The default is a network of 0.1 M parameters
from random weights; ``--encoder tu-efficientnet_lite0 --weights FILE --decoder-channels 64 --lr
1e-3`` is one that users train. ``--results FOLDER`` writes crossing_instruments.json and .md there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from helpers.crossing.measure import measure
from helpers.crossing.scenes import SIZE, crossing_scenes, true_tips
from helpers.methods.training import train_data, train_or_load

from trocar.contract.bundle import write_atomic
from trocar.contract.location import LEGACY, LocationOptions
from trocar.evaluation.model import open_predictor

METHODS = ("supervised", "center-offset")
COLUMNS = {
    "instance_pq": "PQ",
    "mask_ap": "mask AP",
    "mask_ap50": "AP50",
    "count_ratio": "found / true",
    "tip_error": "tip error, px",
    "tips_measured": "tips measured",
    "switches": "switches",
    "IDF1": "IDF1",
    "HOTA": "HOTA",
}


def run(args: argparse.Namespace, method: str, seed: int) -> dict[str, float]:
    """Scores of one run."""
    frames = crossing_scenes(args.work)
    settings: dict[str, Any] = {
        "size": SIZE,
        "encoder": args.encoder,
        "decoder_channels": args.decoder_channels,
        "encoder_weights": str(args.weights) if args.weights else "none",
    }
    out = args.work / f"{args.encoder}, {args.steps} steps" / method / f"seed{seed}"
    train_or_load(
        out,
        method,
        settings,
        data=train_data(seed, frames.subset("train"), frames.subset("val")),
        steps=args.steps,
        lr=args.lr,
    )
    predictor = open_predictor(out / "last.ckpt")
    # What an export writes into the bundle.
    session = predictor.session()
    session.options = LEGACY if predictor.manifest.task == "instances" else LocationOptions()
    return measure(session, frames.subset("test"), true_tips(frames.root))


def table(results: dict[str, list[dict[str, float]]], steps: int) -> str:
    """Mean and spread over the seeds, as Markdown."""
    lines = [
        "# Crossing instruments of one class",
        "",
        f"Written by `benchmarks/crossing_instruments.py`: phantom scenes of {SIZE[1]}x{SIZE[0]}, "
        f"{steps} steps,",
        f"{len(next(iter(results.values())))} seeds, mean ± spread. `supervised` is scored by its "
        "connected regions, as `trocar run`",
        "reports them. Tip errors are medians over the tips that could be measured.",
        "",
        "| | " + " | ".join(METHODS) + " |",
        "| --- |" + " --- |" * len(METHODS),
    ]
    for key, title in COLUMNS.items():
        cells = []
        for method in METHODS:
            values = [one[key] for one in results[method]]
            spread = stdev(values) if len(values) > 1 else 0.0
            digits = 1 if key in ("tip_error", "switches") else 3
            cells.append(f"{mean(values):.{digits}f} ± {spread:.{digits}f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/crossing"))
    parser.add_argument("--encoder", default="tu-test_efficientnet")
    parser.add_argument("--decoder-channels", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weights", type=Path, help="file of the encoder's weights")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, help="folder of the .json and .md files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for seed in args.seeds:
        for method in METHODS:
            results[method].append(run(args, method, seed))
            print(method, seed, results[method][-1], flush=True)
    text = table(results, args.steps)
    print(text)
    if args.results is not None:
        write_atomic(args.results / "crossing_instruments.md", text.encode())
        data = json.dumps({"steps": args.steps, "seeds": args.seeds, "scores": results}, indent=1)
        write_atomic(args.results / "crossing_instruments.json", (data + "\n").encode())


if __name__ == "__main__":
    main()
