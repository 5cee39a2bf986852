"""Compares the segmentation methods with their baselines on phantom scenes and on real operations.

    python benchmarks/methods.py few-labels-5 few-labels-10 texture adaptation --work runs/methods

Scores are those of the last step; nothing was trained or chosen on the test frames. Runs that are
done are kept, so a call that was cut short goes on. ``--results benchmarks/results`` enters the
tables.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from method_scenes import few_clips, frayed, scenes
from method_scores import shape_scores
from method_tables import enter, table
from torch import nn

from trocar.contract.config import from_mapping
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.loop import train
from trocar.train.methods import find_method
from trocar.train.methods.protocol import TrainData
from trocar.train.metrics.evaluate import evaluate_segmentation
from trocar.train.state.checkpoint import load_deployable
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

# Small enough for a CPU core, and quick to learn from nothing.
SMALL: dict[str, Any] = {
    "size": (64, 80),
    "encoder": "tu-test_efficientnet",
    "decoder_channels": 32,
}
# With --weights: what users train, as large as a CPU core bears.
PRETRAINED: dict[str, Any] = {
    "size": (96, 128),
    "encoder": "tu-efficientnet_lite0",
    "decoder_channels": 64,
}
BATCH = 4
CLIPS = 120
"""Of a domain, 0.7 of them to train on."""
START_STEPS = 1000
"""Of the encoder that arms start from."""

Arm = tuple[str, str, dict[str, Any]]
"""Name in the table, method, its settings."""

CE: Arm = ("supervised (CE)", "supervised", {"w_dice": 0.0})
# The weight goes with a mean over classes, four here. Of 6 and 15 the better on validation frames
# of a draw that is none of the table's.
CONSISTENT: Arm = ("cross-consistency", "cross-consistency", {"w_consistency": 15.0})
TEXTURED_LATE: Arm = (
    "texture-entropy, weight 0.02 in the second half",
    "texture-entropy",
    {"w_texture": 0.02, "texture_from": 0.5},
)
FEW_LABELS = (CE, CONSISTENT)
TEXTURE = (CE, TEXTURED_LATE)
SOURCE_ONLY: Arm = ("source only (CE + Dice)", "supervised", {})
ADAPTED: Arm = ("mean-teacher", "mean-teacher", {})
# What the style alone gives: the weight of the consistency is as good as 0.
STYLED: Arm = ("the style alone", "mean-teacher", {"w_consistency": 1e-9})
# The better one on the halves that are seen without labels, with other seeds than the table's.
UNSTYLED: Arm = ("mean-teacher, no style", "mean-teacher", {"style": "none"})
ADAPTATION = (SOURCE_ONLY, ADAPTED, STYLED)
ENDOVIS = (
    SOURCE_ONLY,
    ADAPTED,
    UNSTYLED,
    CE,
    # Its own weight is as strong for two classes as 15 is for four.
    ("cross-consistency", "cross-consistency", {"w_consistency": 7.5}),
    TEXTURED_LATE,
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all groups of one call share."""

    work: Path
    steps: int
    seeds: tuple[int, ...]
    weights: Path | None
    network: Mapping[str, Any]
    lr: float
    clips: int = CLIPS


@dataclass(frozen=True, kw_only=True)
class Group:
    """Arms that are compared on the same data.

    Attributes:
        name: Of the table.
        arms: The first is the baseline.
        data: Sets of each seed.
        judged: Sets that every arm is scored on; arms are compared on the first.
        start: The encoder's weights that every arm starts from, a file, or none.
        shapes: Whether the first set is scored by `method_scores.ShapeScores` too.
    """

    name: str
    arms: tuple[Arm, ...]
    data: Mapping[int, TrainData]
    judged: Mapping[str, FrameSet]
    start: Path | None = None
    shapes: bool = False


def few_labels(plan: Plan, share: float) -> Group:
    frames = scenes(plan.work, "laparoscopy", parts=True, clips=plan.clips)
    all_clips = len(frames.subset("train").groups)
    data = {}
    for seed in plan.seeds:
        labelled, rest = few_clips(frames.subset("train"), share, seed)
        data[seed] = sets(seed, labelled, frames.subset("val"), unlabelled=rest)
    return Group(
        name=f"few labels, {share:.0%}" + (f" of {all_clips} clips" if plan.clips != CLIPS else ""),
        arms=FEW_LABELS,
        data=data,
        judged=both_splits(frames),
        start=starting_encoder(plan),
    )


def texture(plan: Plan) -> Group:
    frames = frayed(scenes(plan.work, "laparoscopy", parts=True))
    return Group(
        name="textured boundaries",
        arms=TEXTURE,
        data={s: sets(s, frames.subset("train"), frames.subset("val")) for s in plan.seeds},
        judged=both_splits(frames),
        start=starting_encoder(plan),
        shapes=True,
    )


def adaptation(plan: Plan) -> Group:
    source, target = scenes(plan.work, "laparoscopy"), scenes(plan.work, "robotic")
    labelled, seen = source.subset("train"), target.subset("train")
    data = {seed: sets(seed, labelled, target.subset("val"), target=seen) for seed in plan.seeds}
    judged = {**both_splits(target), "source domain, test": source.subset("test")}
    # Not from the small network's starting encoder: that one has seen the target's look.
    return Group(name="adaptation", arms=ADAPTATION, data=data, judged=judged, start=plan.weights)


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
        groups.append(
            Group(
                name=name,
                arms=ENDOVIS,
                data=data,
                judged={"second half": judged},
                start=starting_encoder(plan),
            )
        )
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


def starting_encoder(plan: Plan) -> Path:
    """The call's weights, or those of an encoder that was trained on robotic phantoms.

    The scenes are none of those that anything is judged on.
    """
    if plan.weights:
        return plan.weights
    work = plan.work
    file = work / "encoder.pth"
    if not file.is_file():
        frames = scenes(work, "robotic", parts=True, seed=12)
        data = sets(5, frames.subset("train"), frames.subset("val"))
        out = work / "starting-encoder"
        fitted(out, "supervised", SMALL, data=data, steps=START_STEPS, lr=plan.lr)
        network: Any = load_deployable(out / "last.ckpt")[0]
        torch.save(network.encoder.state_dict(), file)
    return file


def fitted(
    out: Path,
    method: str,
    settings: Mapping[str, Any],
    *,
    data: TrainData,
    steps: int,
    lr: float,
) -> nn.Module:
    """Trains a network, or reads what an earlier call left."""
    if not (out / "metrics.json").is_file():
        kind = find_method(method)
        made = kind(from_mapping(kind.Config, dict(settings), source="benchmark"))
        loop = RunConfig(
            steps=steps,
            batch_size=BATCH,
            lr=lr,
            seed=data.seed,
            workers=0,
            device="cpu",
            evaluate_every=steps,
            save_every=max(steps // 4, 1),
            cache_mb=256,
        )
        train(Job(method=made, run=loop, data=data, name=method, out=out, resume=out.exists()))
    return load_deployable(out / "last.ckpt")[0]


def run(plan: Plan, group: Group, arm: Arm, seed: int) -> dict[str, float]:
    """Scores of one arm with one seed by column; IoU and boundary F in points."""
    name, method, settings = arm
    start = ", ImageNet" if plan.weights else ""
    out = plan.work / f"{group.name}, {plan.steps} steps{start}" / name / f"seed{seed}"
    weights = {"encoder_weights": str(group.start)} if group.start else {}
    network = fitted(
        out,
        method,
        {**plan.network, **weights, **settings},
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
        found[f"{title}, stray pieces a frame"] = shapes["stray"]
        found[f"{title}, texture difference x 100"] = 100 * shapes["texture_gap"]
    return found


def compared(plan: Plan, group: Group) -> dict[str, Any]:
    """All scores of a group by arm, one for each seed."""
    found = {arm[0]: [run(plan, group, arm, seed) for seed in plan.seeds] for arm in group.arms}
    first = next(iter(group.data.values()))
    columns = next(iter(found.values()))[0]
    return {
        "group": group.name,
        "steps": plan.steps,
        "seeds": list(plan.seeds),
        "labelled": len(first.labelled),
        "judged": {title: len(frames) for title, frames in group.judged.items()},
        "network": {**plan.network, "size": list(plan.network["size"])},
        "encoder_from": "ImageNet" if plan.weights else "phantoms" if group.start else "nothing",
        "torch": torch.__version__,
        "command": shlex.join(["python", "benchmarks/methods.py", *_public(sys.argv[1:])]),
        "settings": {name: settings for name, _, settings in group.arms},
        "scores": {
            arm: {column: [round(one[column], 2) for one in runs] for column in columns}
            for arm, runs in found.items()
        },
    }


def _public(words: list[str]) -> list[str]:
    """The call without this machine's folders."""
    places = {
        "--endovis": "ENDOVIS",
        "--work": "runs/methods",
        "--weights": "lite0.safetensors",
        "--results": "benchmarks/results",
    }
    return [places.get(before, word) for before, word in zip(["", *words], words, strict=False)]


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
    parser.add_argument("--weights", type=Path, help="of EfficientNet-Lite0: see pretrained.py")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of few labels")
    parser.add_argument("--arms", nargs="+", help="train and enter these alone, by name")
    parser.add_argument("--endovis", type=Path, help="folder with OP1/ and OP2/")
    parser.add_argument("--results", type=Path, help="folder of methods.json and methods.md")
    args = parser.parse_args()
    if "endovis" in args.parts and args.endovis is None:
        parser.error("endovis needs --endovis DIR")
    plan = Plan(
        work=args.work,
        steps=args.steps,
        seeds=tuple(args.seeds),
        weights=args.weights,
        network=PRETRAINED if args.weights else SMALL,
        lr=1e-3 if args.weights else 3e-3,
        clips=args.clips,
    )
    for part in args.parts:
        for group in makers[part](plan):
            if args.arms:
                group = replace(group, arms=tuple(a for a in group.arms if a[0] in args.arms))
            result = compared(plan, group)
            print(table(result), flush=True)
            if args.results:
                enter(args.results, result)


if __name__ == "__main__":
    main()
