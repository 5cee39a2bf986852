"""Distil a large network into a small one on phantoms, against the small one alone.

    python benchmarks/distillation.py --work runs/distillation                      # ResNet-50
    python benchmarks/distillation.py --weights lite0.safetensors --teachers lite0

Two cases: 10 % of the clips labelled, where the other frames serve as unlabelled ones, and all
labels. The teacher has the labels of its student and twice its steps; ``lite0`` has ImageNet
weights, which the student lacks. Scores are those of the last step on test frames, which nothing is
trained or selected on. Finished runs are not repeated. ``--results FOLDER`` writes
distillation.json and distillation.md there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from helpers.methods.scenes import few_clips, scenes
from helpers.methods.tables import cell, gain
from helpers.methods.training import train_data, train_or_load
from helpers.methods.variants import PRETRAINED

from trocar.train.data.sample import FrameSet
from trocar.train.metrics.evaluate import evaluate_segmentation

SIZE = (64, 80)
STUDENT: dict[str, Any] = {
    "size": SIZE,
    "encoder": "tu-mobilenetv3_small_100",
    "decoder_channels": 64,
}
TEACHERS: dict[str, dict[str, Any]] = {
    "resnet50": {"size": SIZE, "encoder": "resnet50", "decoder_channels": 64},
    "lite0": {**PRETRAINED, "size": SIZE},
}
LR = {"resnet50": 1e-3, "lite0": 1e-3, "student": 3e-3}
SHARES = {"10 % of the clips labelled": 0.1, "all labels": 1.0}


def scores_of(args: argparse.Namespace, case: str, seed: int, frames: FrameSet) -> dict[str, float]:
    """IoU in percent of the student alone, and of each teacher and its student, for one seed."""
    labelled, rest = frames.subset("train"), None
    if SHARES[case] < 1:
        labelled, rest = few_clips(labelled, SHARES[case], seed)
    plain = train_data(seed, labelled, frames.subset("val"))
    more = train_data(seed, labelled, frames.subset("val"), unlabelled=rest)
    out = args.work / f"{case}, {args.steps} steps" / f"seed{seed}"
    student = {"steps": args.steps, "lr": LR["student"]}
    made = {
        "student alone": train_or_load(out / "alone", "supervised", STUDENT, data=plain, **student)
    }
    for name in args.teachers:
        teacher = dict(TEACHERS[name])
        if name == "lite0":
            teacher["encoder_weights"] = str(args.weights)
        made[f"{name}, teacher"] = train_or_load(
            out / name, "supervised", teacher, data=plain, steps=2 * args.steps, lr=LR[name]
        )
        soft = {**STUDENT, "teacher": str(out / name / "last.ckpt")}
        made[f"{name}, student"] = train_or_load(
            out / f"from-{name}", "distillation", soft, data=more, **student
        )
    test = frames.subset("test")
    return {
        name: round(100 * evaluate_segmentation(network, test, size=SIZE)["iou_mean"], 2)
        for name, network in made.items()
    }


def table(results: dict[str, dict[str, list[float]]], *, steps: int, seeds: Sequence[int]) -> str:
    """All cases as Markdown."""
    lines = [
        "# Distillation on phantoms",
        "",
        "Written by `benchmarks/distillation.py`. Mean IoU over classes without background on test "
        "frames in",
        f"points, mean ± deviation over {len(seeds)} seeds; in the last column the difference to "
        "the student alone,",
        f"its 95 % interval and that of each seed. {steps} steps, {2 * steps} of a teacher; batch "
        f"4, {SIZE[1]}x{SIZE[0]}, one CPU thread,",
        "light augmentation. Student: DeepLabV3+ with",
        f"`{STUDENT['encoder']}` from random weights, 1.2 M parameters. Teachers: DeepLabV3+ with",
        "`resnet50` from random weights, 24.3 M; with `tu-efficientnet_lite0` from ImageNet, 3.1 M."
        f" Torch {torch.__version__}.",
        "",
        "| case | teacher | its IoU | student alone | distilled student | difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case, scores in results.items():
        alone = scores["student alone"]
        for name in TEACHERS:
            if f"{name}, student" in scores:
                taught = scores[f"{name}, student"]
                cells = [cell(scores[f"{name}, teacher"]), cell(alone), cell(taught)]
                found = gain(taught, alone)[2:]
                lines.append(f"| {case} | {name} | {' | '.join(cells)} | {found} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a distilled student with one alone.")
    parser.add_argument("--teachers", nargs="+", choices=list(TEACHERS), default=["resnet50"])
    parser.add_argument("--weights", type=Path, help="of EfficientNet-Lite0, for lite0")
    parser.add_argument("--work", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--results", type=Path, help="folder of distillation.json and .md")
    args = parser.parse_args()
    if "lite0" in args.teachers and args.weights is None:
        parser.error("the teacher lite0 needs --weights FILE")
    frames = scenes(args.work, "laparoscopy", parts=True)
    results: dict[str, dict[str, list[float]]] = {}
    for case in args.cases:
        for seed in args.seeds:
            for name, score in scores_of(args, case, seed, frames).items():
                results.setdefault(case, {}).setdefault(name, []).append(score)
            print(case, seed, results[case], flush=True)
    text = table(results, steps=args.steps, seeds=args.seeds)
    print(text)
    if args.results:
        (args.results / "distillation.md").write_text(text, encoding="utf-8")
        document = {"steps": args.steps, "seeds": args.seeds, "scores": results}
        (args.results / "distillation.json").write_text(
            json.dumps(document, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
