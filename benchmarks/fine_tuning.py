"""Pre-train on one look of phantoms, fine-tune on another with few labels: what --encoder-lr gives.

    python benchmarks/fine_tuning.py --work runs/fine-tuning --results benchmarks/results

A network learns robotic phantoms with all labels, once for each seed. Then it starts from that run
on laparoscopic phantoms of which 10 % of the clips have labels, with the encoder at the full rate,
at a tenth of it and at no rate, and from random weights. Scores are those of the last step on test
frames of the second look, which nothing is trained or selected on. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from helpers.methods.scenes import few_clips, scenes
from helpers.methods.tables import cell, gain
from helpers.methods.training import train_data, train_or_load
from helpers.methods.variants import SMALL

from trocar.train.data.sample import FrameSet
from trocar.train.metrics.evaluate import evaluate_segmentation

SHARE = 0.1
LR = 3e-3
FIRST = "from random weights"
FACTORS = {
    "pre-trained, `--encoder-lr 1`": 1.0,
    "pre-trained, `--encoder-lr 0.1`": 0.1,
    "pre-trained, `--encoder-lr 0`": 0.0,
}


def scores_of(
    args: argparse.Namespace, seed: int, first: FrameSet, second: FrameSet
) -> dict[str, float]:
    """IoU in percent on the second look, of every start, for one seed."""
    network: dict[str, Any] = dict(SMALL)
    base = args.work / f"{args.steps} steps" / f"seed{seed}"
    whole = train_data(seed, first.subset("train"), first.subset("val"))
    trained = base / "first look"
    train_or_load(trained, "supervised", network, data=whole, steps=2 * args.steps, lr=LR)
    labelled, _ = few_clips(second.subset("train"), SHARE, seed)
    few = train_data(seed, labelled, second.subset("val"))
    common: dict[str, Any] = {"data": few, "steps": args.steps, "lr": args.lr}
    made = {FIRST: train_or_load(base / FIRST, "supervised", network, **common)}
    for name, factor in FACTORS.items():
        made[name] = train_or_load(
            base / f"encoder rate {factor:g}, rate {args.lr:g}",
            "supervised",
            network,
            start=trained,
            encoder_lr=factor,
            **common,
        )
    test = second.subset("test")
    return {
        name: round(100 * evaluate_segmentation(one, test, size=SMALL["size"])["iou_mean"], 2)
        for name, one in made.items()
    }


def table(results: dict[str, list[float]], *, steps: int, seeds: list[int], lr: float) -> str:
    """All starts as Markdown; differences are to the full rate, and to random weights."""
    full = results[next(iter(FACTORS))]
    lines = [
        "# Fine-tuning on another look",
        "",
        "Written by `benchmarks/fine_tuning.py`. Mean IoU over classes without background on test "
        "frames of the",
        f"second look in points, mean ± deviation over {len(seeds)} seeds, with differences, their "
        "95 % intervals and those",
        f"of each seed. First look: robotic phantoms, all labels, {2 * steps} steps; second: "
        f"laparoscopic ones, {SHARE:.0%} of",
        f"the clips labelled, {steps} steps, rate {lr:g}, batch 4, one CPU thread. DeepLabV3+ with",
        f"`{SMALL['encoder']}`, 0.1 M parameters. Torch {torch.__version__}.",
        "",
        "| start | IoU | to random weights | to the full rate |",
        "| --- | --- | --- | --- |",
    ]
    for name, values in results.items():
        random = "" if name == FIRST else gain(values, results[FIRST])[2:]
        rate = "" if values is full or name == FIRST else gain(values, full)[2:]
        lines.append(f"| {name} | {cell(values)} | {random} | {rate} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune with few labels on another look.")
    parser.add_argument("--work", type=Path, default=Path("runs/fine-tuning"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=LR, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, help="folder of fine_tuning.json and .md")
    args = parser.parse_args()
    first = scenes(args.work, "robotic", parts=True)
    second = scenes(args.work, "laparoscopy", parts=True)
    results: dict[str, list[float]] = {}
    for seed in args.seeds:
        for name, score in scores_of(args, seed, first, second).items():
            results.setdefault(name, []).append(score)
        print(seed, results, flush=True)
    text = table(results, steps=args.steps, seeds=args.seeds, lr=args.lr)
    print(text)
    if args.results:
        (args.results / "fine_tuning.md").write_text(text, encoding="utf-8")
        document = {"steps": args.steps, "lr": args.lr, "seeds": args.seeds, "scores": results}
        (args.results / "fine_tuning.json").write_text(
            json.dumps(document, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
