"""Compare the segmentation methods with their baselines on phantom scenes and real operations.

    python benchmarks/methods.py defaults --endovis DIR --robotic DIR --weights lite0.safetensors

``defaults`` is the table of what a user gets: every method with its defaults against `supervised`
with its own, on phantoms and on real frames, with an oracle that has the target's labels. Add
``--seeds 0 1 2 3 4`` for a claim.

Scores are those of the last step; the test frames are used neither for training nor for selection.
Finished runs are not repeated, so an interrupted call can be continued.
``--results benchmarks/results`` adds the scores to the tables.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from helpers.methods.groups import (
    Group,
    Plan,
    adaptation,
    endovis,
    endovis_oracle,
    few_labels,
    few_real_labels,
    norms,
    robotic,
    robotic_oracle,
    still,
    still_few,
    still_methods,
    still_oracle,
    texture,
)
from helpers.methods.scores import shape_scores
from helpers.methods.tables import enter, table
from helpers.methods.training import train_or_load
from helpers.methods.variants import CLIPS, PRETRAINED, SMALL, Variant

from trocar.train.metrics.evaluate import evaluate_segmentation


def run(plan: Plan, group: Group, variant: Variant, seed: int) -> dict[str, float]:
    """Scores of one variant and seed by column; IoU and boundary F in percent."""
    start = ", ImageNet" if plan.weights else ""
    height, width = plan.network["size"]
    title = f"{group.name}, {plan.steps} steps{start}, {width}x{height}"
    out = plan.work / title / variant.name / f"seed{seed}"
    weights = {"encoder_weights": str(group.start)} if group.start else {}
    network = train_or_load(
        out,
        variant.method,
        {**plan.network, **weights, **variant.settings},
        data=group.data[seed],
        steps=plan.steps,
        lr=plan.lr,
    )
    found = {
        title: 100 * evaluate_segmentation(network, frames, size=plan.network["size"])["iou_mean"]
        for title, frames in group.judged.items()
    }
    if group.shapes:
        title, frames = next(iter(group.judged.items()))
        shapes = shape_scores(network, frames, size=plan.network["size"])
        found[f"{title}, boundary F"] = 100 * shapes["boundary_f"]
        found[f"{title}, false-positive components a frame"] = shapes["false_positive_components"]
        found[f"{title}, texture difference x 100"] = 100 * shapes["texture_gap"]
    return found


def compared(plan: Plan, group: Group) -> dict[str, Any]:
    """All scores of a group by variant, one value per seed."""
    found = {
        variant.name: [run(plan, group, variant, seed) for seed in plan.seeds]
        for variant in group.variants
    }
    first = next(iter(group.data.values()))
    columns = next(iter(found.values()))[0]
    return {
        "group": group.name,
        "steps": plan.steps,
        "seeds": list(plan.seeds),
        "labelled": len(first.labelled),
        "judged": {title: len(frames) for title, frames in group.judged.items()},
        "network": {**plan.network, "size": list(plan.network["size"])},
        "defaults": "0.2",
        "encoder_from": "ImageNet" if plan.weights else "phantoms" if group.start else "nothing",
        "torch": torch.__version__,
        "command": shlex.join(["python", "benchmarks/methods.py", *_public(sys.argv[1:])]),
        "settings": {one.name: dict(one.settings) for one in group.variants},
        "scores": {
            variant: {column: [round(one[column], 2) for one in runs] for column in columns}
            for variant, runs in found.items()
        },
    }


def _public(words: list[str]) -> list[str]:
    """The arguments with the folders of this machine replaced by public names."""
    places = {
        "--endovis": "ENDOVIS",
        "--robotic": "ROBOTIC",
        "--work": "runs/methods",
        "--weights": "lite0.safetensors",
        "--results": "benchmarks/results",
    }
    return [places.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Compare the segmentation methods with their baselines."
    )
    makers = {
        "few-labels-5": lambda plan: [few_labels(plan, 0.05)],
        "few-labels-10": lambda plan: [few_labels(plan, 0.10)],
        "texture": lambda plan: [texture(plan)],
        "adaptation": lambda plan: [adaptation(plan)],
        "endovis": lambda plan: endovis(plan, args.endovis),
        "oracle": lambda plan: endovis_oracle(plan, args.endovis),
        "robotic": lambda plan: robotic(plan, args.endovis, args.robotic),
        "robotic-oracle": lambda plan: robotic_oracle(plan, args.robotic),
        "few-real": lambda plan: few_real_labels(plan, args.endovis, args.robotic),
        "norms": lambda plan: norms(plan, args.endovis, args.robotic),
        "still": lambda plan: still(plan, args.endovis, args.robotic),
        "still-methods": lambda plan: still_methods(plan, args.endovis, args.robotic),
        "still-oracle": lambda plan: still_oracle(plan, args.endovis, args.robotic),
        "still-few": lambda plan: still_few(plan, args.endovis, args.robotic),
        "defaults": lambda plan: [
            adaptation(plan),
            few_labels(plan, 0.10),
            texture(plan),
            *endovis(plan, args.endovis),
            *endovis_oracle(plan, args.endovis),
            *robotic(plan, args.endovis, args.robotic),
            *robotic_oracle(plan, args.robotic),
            *few_real_labels(plan, args.endovis, args.robotic),
        ],
    }
    parser.add_argument("parts", nargs="+", choices=list(makers))
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=Path, help="of EfficientNet-Lite0, see pretrained.py")
    parser.add_argument("--size", help="of the network, WIDTHxHEIGHT, e.g. 80x64")
    parser.add_argument("--clips", type=int, default=CLIPS, help="phantom clips of few-labels")
    parser.add_argument("--variants", nargs="+", help="train and report only these, by name")
    parser.add_argument("--endovis", type=Path, help="folder with OP1/ and OP2/")
    parser.add_argument("--robotic", type=Path, help="folder with Dataset1/, Dataset2/ and GT/")
    parser.add_argument("--results", type=Path, help="folder of methods.json and methods.md")
    args = parser.parse_args()
    still_parts = {"still", "still-methods", "still-oracle", "still-few"}
    on_real = {"robotic", "few-real", "norms", "defaults", *still_parts}
    if {"endovis", "oracle", *on_real} & set(args.parts) and args.endovis is None:
        parser.error("this part needs --endovis DIR")
    if {"robotic-oracle", *on_real} & set(args.parts) and args.robotic is None:
        parser.error("this part needs --robotic DIR")
    network = PRETRAINED if args.weights else SMALL
    if args.size:
        width, height = map(int, args.size.split("x"))
        network = {**network, "size": (height, width)}
    plan = Plan(
        work=args.work,
        steps=args.steps,
        seeds=tuple(args.seeds),
        weights=args.weights,
        network=network,
        lr=1e-3 if args.weights else 3e-3,
        clips=args.clips,
    )
    for part in args.parts:
        for group in makers[part](plan):
            if args.variants:
                group = replace(
                    group,
                    variants=tuple(one for one in group.variants if one.name in args.variants),
                )
            result = compared(plan, group)
            print(table(result), flush=True)
            if args.results:
                enter(args.results, result)


if __name__ == "__main__":
    main()
