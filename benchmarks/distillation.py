"""Distil a pretrained network into a small one, against the small one alone, on phantom scenes.

    python benchmarks/distillation.py --weights lite0.safetensors --work runs/distillation

Two cases: all labels, and 10 % of the clips labelled, where the other frames serve as unlabelled
ones. The teacher has the same labels as its student, and ImageNet weights that the student has not.
Scores are those of the last step on test frames, which nothing is trained or selected on. Finished
runs are not repeated. ``--results FOLDER`` writes distillation.json and distillation.md there.
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
from helpers.methods.variants import PRETRAINED, SMALL

from trocar.train.data.sample import FrameSet
from trocar.train.metrics.evaluate import evaluate_segmentation

SIZE = (96, 128)
STUDENT: dict[str, Any] = {**SMALL, "size": SIZE}
TEACHER: dict[str, Any] = {**PRETRAINED, "size": SIZE}
SHARES = {"all labels": 1.0, "10 % of the clips labelled": 0.1}


def scores_of(args: argparse.Namespace, case: str, seed: int, frames: FrameSet) -> dict[str, float]:
    """IoU in percent of teacher, student alone and distilled student, for one seed."""
    labelled, rest = frames.subset("train"), None
    if SHARES[case] < 1:
        labelled, rest = few_clips(labelled, SHARES[case], seed)
    plain = train_data(seed, labelled, frames.subset("val"))
    more = train_data(seed, labelled, frames.subset("val"), unlabelled=rest)
    out = args.work / f"{case}, {args.steps} steps" / f"seed{seed}"
    teacher = {**TEACHER, "encoder_weights": str(args.weights)}
    soft = {**STUDENT, "teacher": str(out / "teacher" / "last.ckpt")}
    made = {
        "teacher": train_or_load(
            out / "teacher", "supervised", teacher, data=plain, steps=args.steps, lr=1e-3
        ),
        "student alone": train_or_load(
            out / "alone", "supervised", STUDENT, data=plain, steps=args.steps, lr=3e-3
        ),
        "distilled student": train_or_load(
            out / "distilled", "distillation", soft, data=more, steps=args.steps, lr=3e-3
        ),
    }
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
        "the student alone",
        f"(each seed). {steps} steps, batch 4, {SIZE[1]}x{SIZE[0]}, one CPU thread, light "
        "augmentation. Teacher:",
        f"DeepLabV3+ with `{TEACHER['encoder']}` from ImageNet; student: DeepLabV3+ with",
        f"`{STUDENT['encoder']}` from random weights. Torch {torch.__version__}.",
        "",
        "| case | teacher | student alone | distilled student | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case, scores in results.items():
        alone, distilled = scores["student alone"], scores["distilled student"]
        cells = [cell(scores["teacher"]), cell(alone), cell(distilled)]
        lines.append(f"| {case} | {' | '.join(cells)} | {gain(distilled, alone)[2:]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a distilled student with one alone.")
    parser.add_argument("--weights", type=Path, required=True, help="of EfficientNet-Lite0")
    parser.add_argument("--work", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, help="folder of distillation.json and .md")
    args = parser.parse_args()
    frames = scenes(args.work, "laparoscopy", parts=True)
    results: dict[str, dict[str, list[float]]] = {}
    for case in SHARES:
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
