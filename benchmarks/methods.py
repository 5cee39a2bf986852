"""Compares the segmentation methods with their baselines on phantom scenes and on real operations.

    python benchmarks/methods.py few-labels-5 few-labels-10 texture adaptation --work runs/methods

Scores are those of the last step. What is chosen is chosen on the validation frames; the test
frames are scored once all is settled: nothing was trained or chosen on them. Runs that are done are
kept, so a call that was cut short goes on. ``--results benchmarks/results`` enters the tables.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from method_scenes import frayed, scenes

from trocar.contract.config import from_mapping
from trocar.train.checkpoint import load_deployable
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.evaluation import evaluate_segmentation
from trocar.train.job import Job
from trocar.train.loop import train
from trocar.train.methods import find_method
from trocar.train.methods.protocol import TrainData
from trocar.train.opening import hide_labels
from trocar.train.settings import RunConfig

SIZE = (96, 128)
# Small enough for a CPU core, and quick to learn from nothing.
NETWORK: dict[str, Any] = {"size": SIZE, "encoder": "tu-test_efficientnet", "decoder_channels": 32}
BATCH = 4

Arm = tuple[str, str, dict[str, Any]]
"""Name in the table, method, its settings."""

CE: Arm = ("supervised (CE)", "supervised", {"w_dice": 0.0})
CE_DICE: Arm = ("supervised (CE + Dice)", "supervised", {})
CONSISTENT: Arm = ("cross-consistency", "cross-consistency", {})
TEXTURED: Arm = ("texture-entropy", "texture-entropy", {})
FEW_LABELS = (CE, CONSISTENT, CE_DICE)
TEXTURE = (CE, TEXTURED, CE_DICE, ("CE + Dice + texture", "supervised", {"w_texture": 0.1}))
SOURCE_ONLY: Arm = ("source only (CE + Dice)", "supervised", {})
REINHARD: dict[str, Any] = {"style": "reinhard"}
GENTLE: Arm = (
    "mean-teacher, reinhard, weight 1",
    "mean-teacher",
    {**REINHARD, "w_consistency": 1.0},
)
ADAPTATION: tuple[Arm, ...] = (
    SOURCE_ONLY,
    GENTLE,
    ("the same, soft", "mean-teacher", {**GENTLE[2], "reliability": "soft"}),
    ("mean-teacher, fourier, weight 10", "mean-teacher", {"w_consistency": 10.0}),
    ("mean-teacher, reinhard, weight 10", "mean-teacher", {**REINHARD, "w_consistency": 10.0}),
    # What the style alone gives: the weight of the consistency is as good as 0.
    ("reinhard alone", "mean-teacher", {**REINHARD, "w_consistency": 1e-9}),
)
ENDOVIS = (SOURCE_ONLY, GENTLE, CE, CONSISTENT, TEXTURED)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all groups of one call share."""

    work: Path
    steps: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Arms that are compared on the same data.

    Attributes:
        name: Of the table.
        arms: The first is the baseline.
        data: Sets of each seed.
        judged: Sets that every arm is scored on; arms are compared on the first.
    """

    name: str
    arms: tuple[Arm, ...]
    data: Mapping[int, TrainData]
    judged: Mapping[str, FrameSet]


def few_labels(plan: Plan, share: float) -> Group:
    frames = scenes(plan.work, "laparoscopy")
    data = {}
    for seed in plan.seeds:
        labelled, rest = hide_labels(frames.subset("train"), share, seed)
        data[seed] = sets(seed, labelled, frames.subset("val"), unlabelled=rest)
    return Group(
        name=f"few labels, {share:.0%}", arms=FEW_LABELS, data=data, judged=both_splits(frames)
    )


def texture(plan: Plan) -> Group:
    frames = frayed(scenes(plan.work, "laparoscopy"))
    data = {s: sets(s, frames.subset("train"), frames.subset("val")) for s in plan.seeds}
    return Group(name="textured boundaries", arms=TEXTURE, data=data, judged=both_splits(frames))


def adaptation(plan: Plan) -> Group:
    source, target = scenes(plan.work, "laparoscopy"), scenes(plan.work, "robotic")
    labelled, seen = source.subset("train"), target.subset("train")
    data = {seed: sets(seed, labelled, target.subset("val"), target=seen) for seed in plan.seeds}
    judged = {**both_splits(target), "source domain, test": source.subset("test")}
    return Group(name="adaptation", arms=ADAPTATION, data=data, judged=judged)


def both_splits(frames: FrameSet) -> dict[str, FrameSet]:
    return {split: frames.subset(split) for split in ("test", "val")}


def endovis(plan: Plan, root: Path) -> list[Group]:
    """EndoVis 2015 rigid, one operation against the other, both ways.

    What is learnt from without labels is the first half of the other operation, in time; scores are
    taken on its second half.
    """
    frames = open_frames(root, task="binary")
    names = {g: [i.name for i in frames.items if i.group == g] for g in frames.groups[:2]}
    if len(names) < 2:
        raise SystemExit(f"{root} holds {len(names)} operation(s), two are needed")
    groups = []
    for own, other in (tuple(names), tuple(names)[::-1]):
        labelled, half = frames.only(names[own]), len(names[other]) // 2
        seen, judged = frames.only(names[other][:half]), frames.only(names[other][half:])
        data = {s: sets(s, labelled, judged, target=seen, unlabelled=seen) for s in plan.seeds}
        name = f"EndoVis 2015, {own} to {other}"
        groups.append(Group(name=name, arms=ENDOVIS, data=data, judged={"second half": judged}))
    return groups


def sets(seed: int, labelled: FrameSet, validation: FrameSet, **more: FrameSet | None) -> TrainData:
    return TrainData(
        labelled=labelled,
        validation=validation,
        batch_size=BATCH,
        seed=seed,
        cache_mb=256,
        augmentation="light",
        **more,
    )


def run(plan: Plan, group: Group, arm: Arm, seed: int) -> dict[str, float]:
    """Trains one arm with one seed, or reads what an earlier call left; IoU by set, in points."""
    name, method, settings = arm
    out = plan.work / f"{group.name}, {plan.steps} steps" / name / f"seed{seed}"
    data = group.data[seed]
    if not (out / "metrics.json").is_file():
        kind = find_method(method)
        made = kind(from_mapping(kind.Config, {**NETWORK, **settings}, source="benchmark"))
        loop = RunConfig(
            steps=plan.steps,
            batch_size=BATCH,
            lr=3e-3,
            seed=seed,
            workers=0,
            device="cpu",
            evaluate_every=plan.steps,
            save_every=max(plan.steps // 4, 1),
            cache_mb=256,
        )
        train(Job(method=made, run=loop, data=data, name=name, out=out, resume=out.exists()))
    network, _ = load_deployable(out / "last.ckpt")
    return {
        title: 100 * evaluate_segmentation(network, frames, size=SIZE)["iou_mean"]
        for title, frames in group.judged.items()
    }


def compared(plan: Plan, group: Group) -> dict[str, Any]:
    """All scores of a group by arm, one for each seed."""
    found = {arm[0]: [run(plan, group, arm, seed) for seed in plan.seeds] for arm in group.arms}
    first = next(iter(group.data.values()))
    return {
        "group": group.name,
        "steps": plan.steps,
        "seeds": list(plan.seeds),
        "labelled": len(first.labelled),
        "judged": {title: len(frames) for title, frames in group.judged.items()},
        "network": {**NETWORK, "size": list(SIZE)},
        "torch": torch.__version__,
        "command": shlex.join(["python", "benchmarks/methods.py", *_public(sys.argv[1:])]),
        "iou": {
            arm: {title: [round(one[title], 2) for one in runs] for title in group.judged}
            for arm, runs in found.items()
        },
    }


def _public(words: list[str]) -> list[str]:
    """The call without this machine's folders."""
    places = {"--endovis": "ENDOVIS", "--work": "runs/methods"}
    return [places.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def table(result: dict[str, Any]) -> str:
    """A group as Markdown: mean and spread over the seeds, and paired differences to the first."""
    titles = list(result["judged"])
    base = next(iter(result["iou"].values()))[titles[0]]
    counts = ", ".join(f"{title}: {count}" for title, count in result["judged"].items())
    lines = [
        f"### {result['group'][0].upper()}{result['group'][1:]}",
        "",
        f"{result['steps']} steps on {result['labelled']} labelled frames; judged on {counts}.",
        f"`{result['command']}`",
        "",
        f"| arm | {' | '.join(titles)} | {titles[0]}, against the first (each seed) |",
        "| --- " * (len(titles) + 2) + "|",
    ]
    for name, scores in result["iou"].items():
        cells = " | ".join(cell(scores[title]) for title in titles)
        gains = [value - other for value, other in zip(scores[titles[0]], base, strict=True)]
        shown = f"{mean(gains):+.1f} ({', '.join(f'{gain:+.1f}' for gain in gains)})"
        lines.append(f"| {name} | {cells} | {'' if scores[titles[0]] is base else shown} |")
    return "\n".join(lines) + "\n"


def cell(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values) if len(values) > 1 else 0.0:.1f}"


def enter(folder: Path, result: dict[str, Any]) -> None:
    """Puts a group into ``methods.json`` and writes all its groups' tables to ``methods.md``."""
    file = folder / "methods.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known[result["group"]] = result
    file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    head = (
        "# Segmentation methods and their baselines\n\nWritten by `benchmarks/methods.py`; what it "
        "means stands in `docs/methods.md`. IoU of instruments in points, mean ± deviation over "
        f"seeds, last step, batch {BATCH}, one CPU thread, encoder `{NETWORK['encoder']}` from "
        f"nothing at {SIZE[0]}x{SIZE[1]}, light augmentation.\n\n"
    )
    (folder / "methods.md").write_text(head + "\n".join(map(table, known.values())), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    makers = {
        "few-labels-5": lambda plan: [few_labels(plan, 0.05)],
        "few-labels-10": lambda plan: [few_labels(plan, 0.10)],
        "texture": lambda plan: [texture(plan)],
        "adaptation": lambda plan: [adaptation(plan)],
        "endovis": lambda plan: endovis(plan, args.endovis),
    }
    parser.add_argument("parts", nargs="+", choices=list(makers))
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--endovis", type=Path, help="folder with OP1/ and OP2/")
    parser.add_argument("--results", type=Path, help="folder of methods.json and methods.md")
    args = parser.parse_args()
    if "endovis" in args.parts and args.endovis is None:
        parser.error("endovis needs --endovis DIR")
    plan = Plan(work=args.work, steps=args.steps, seeds=tuple(args.seeds))
    for part in args.parts:
        for group in makers[part](plan):
            result = compared(plan, group)
            print(table(result), flush=True)
            if args.results:
                enter(args.results, result)


if __name__ == "__main__":
    main()
