"""The comparisons of benchmarks/methods.py: data, test sets and starting weights of each.

adaptation(plan).judged  # test sets by column of the table
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from helpers.methods.scenes import few_clips, scenes, with_jagged_outlines
from helpers.methods.training import train_data, train_or_load
from helpers.methods.variants import (
    ADAPTATION,
    CLIPS,
    DEFAULTS,
    ENDOVIS,
    FEW_LABELS,
    NORMS,
    SMALL,
    START_STEPS,
    STILL_ADAPTED,
    STILL_FEW,
    STILL_OR_BATCHES,
    STILL_SUPERVISED,
    SUPERVISED,
    TEXTURE,
    Variant,
)

from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.methods.protocol import TrainData
from trocar.train.state.checkpoint import load_deployable

ROBOTIC_STRIDE = 6
"""Every sixth frame of a film: neighbours are nearly equal."""
FEW_REAL = 8
"""Labelled frames of the tables of few real labels."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings of one call, the same for all groups."""

    work: Path
    steps: int
    seeds: tuple[int, ...]
    weights: Path | None
    network: Mapping[str, Any]
    lr: float
    clips: int = CLIPS


@dataclass(frozen=True, kw_only=True)
class Group:
    """Variants that are trained and scored on the same data.

    Attributes:
        name: Title of the table.
        variants: The first is the baseline.
        data: Training data by seed.
        judged: Test sets by column; variants are compared on the first.
        start: File of the encoder's weights that every variant starts from; None: random weights.
        shapes: Also compute `ShapeScores` on the first test set.
    """

    name: str
    variants: tuple[Variant, ...]
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
        data[seed] = train_data(seed, labelled, frames.subset("val"), unlabelled=rest)
    return Group(
        name=f"few labels, {share:.0%}" + (f" of {all_clips} clips" if plan.clips != CLIPS else ""),
        variants=FEW_LABELS,
        data=data,
        judged=both_splits(frames),
        start=starting_encoder(plan),
    )


def texture(plan: Plan) -> Group:
    frames = with_jagged_outlines(scenes(plan.work, "laparoscopy", parts=True))
    return Group(
        name="textured boundaries",
        variants=TEXTURE,
        data={s: train_data(s, frames.subset("train"), frames.subset("val")) for s in plan.seeds},
        judged=both_splits(frames),
        start=starting_encoder(plan),
        shapes=True,
    )


def adaptation(plan: Plan) -> Group:
    source, target = scenes(plan.work, "laparoscopy"), scenes(plan.work, "robotic")
    labelled, seen = source.subset("train"), target.subset("train")
    data = {
        seed: train_data(seed, labelled, target.subset("val"), target=seen) for seed in plan.seeds
    }
    judged = {**both_splits(target), "source domain, test": source.subset("test")}
    # The small network's starting encoder is not used: it was trained on the target domain.
    return Group(
        name="adaptation", variants=ADAPTATION, data=data, judged=judged, start=plan.weights
    )


def both_splits(frames: FrameSet) -> dict[str, FrameSet]:
    return {split: frames.subset(split) for split in ("test", "val")}


def endovis(plan: Plan, root: Path) -> list[Group]:
    """EndoVis 2015 rigid: train on one operation and test on the other, in both directions.

    The first half of the other operation, in time, is used without labels; scores are computed on
    its second half.
    """
    frames = open_frames(root, task="binary")
    names = {g: [i.name for i in frames.items if i.group == g] for g in frames.groups[:2]}
    if len(names) < 2:
        raise SystemExit(f"{root} has {len(names)} operation(s), expected two: OP1/ and OP2/")
    groups = []
    for own, other in (tuple(names), tuple(names)[::-1]):
        labelled, half = frames.only(names[own]), len(names[other]) // 2
        seen, judged = frames.only(names[other][:half]), frames.only(names[other][half:])
        data = {
            s: train_data(s, labelled, judged, target=seen, unlabelled=seen) for s in plan.seeds
        }
        name = f"EndoVis 2015, {own} to {other}"
        groups.append(
            Group(
                name=name,
                variants=ENDOVIS,
                data=data,
                judged={"second half": judged},
                start=starting_encoder(plan),
            )
        )
    return groups


def endovis_oracle(plan: Plan, root: Path) -> list[Group]:
    """What labels of the target would give: trained on the other operation's first half."""
    frames = open_frames(root, task="binary")
    groups = []
    for other in frames.groups[:2]:
        names = [item.name for item in frames.items if item.group == other]
        seen, judged = frames.only(names[: len(names) // 2]), frames.only(names[len(names) // 2 :])
        groups.append(
            Group(
                name=f"EndoVis 2015, first half of {other} with its labels",
                variants=(SUPERVISED,),
                data={s: train_data(s, seen, judged) for s in plan.seeds},
                judged={"second half": judged},
                start=starting_encoder(plan),
            )
        )
    return groups


def robotic(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """From both rigid operations to a robot: Dataset1 without labels, Dataset2 is judged."""
    labelled = open_frames(root, task="binary")
    frames = open_frames(robot, task="binary")
    first, second = [
        frames.only([i.name for i in frames.items if i.group == group][::ROBOTIC_STRIDE])
        for group in frames.groups[:2]
    ]
    data = {s: train_data(s, labelled, second, target=first, unlabelled=first) for s in plan.seeds}
    return [
        Group(
            name="EndoVis 2015, rigid to robotic",
            variants=DEFAULTS,
            data=data,
            judged={"Dataset2": second},
            start=starting_encoder(plan),
        )
    ]


def robotic_oracle(plan: Plan, robot: Path) -> list[Group]:
    """What labels of the robot would give: trained on Dataset1 with its labels."""
    frames = open_frames(robot, task="binary")
    first, second = [
        frames.only([i.name for i in frames.items if i.group == group][::ROBOTIC_STRIDE])
        for group in frames.groups[:2]
    ]
    return [
        Group(
            name="EndoVis 2015, robotic Dataset1 with its labels",
            variants=(SUPERVISED,),
            data={s: train_data(s, first, second) for s in plan.seeds},
            judged={"Dataset2": second},
            start=starting_encoder(plan),
        )
    ]


def few_real_labels(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """Eight labelled frames of a clip, and all others of it and of a second one without labels.

    From OP1 to the second half of OP2, back, and from the robot's Dataset1 to Dataset2, of which
    nothing is seen.
    """
    rigid, robotic = open_frames(root, task="binary"), open_frames(robot, task="binary")
    own = {g: [i.name for i in rigid.items if i.group == g] for g in rigid.groups[:2]}
    names = list(own)
    cases = []
    for here, there in (names, names[::-1]):
        half = len(own[there]) // 2
        cases.append(
            (
                f"{here} to {there}",
                rigid.only(own[here]),
                rigid.only([*own[here], *own[there][:half]]),
                rigid.only(own[there][half:]),
            )
        )
    first, second = [
        robotic.only([i.name for i in robotic.items if i.group == group][::ROBOTIC_STRIDE])
        for group in robotic.groups[:2]
    ]
    cases.append(("robot, Dataset1 to Dataset2", first, first, second))
    groups = []
    for name, labelled, seen, judged in cases:
        every = len(labelled) // FEW_REAL
        data = {}
        for seed in plan.seeds:
            chosen = [i.name for i in labelled.items][seed % every :: every][:FEW_REAL]
            rest = seen.only([i.name for i in seen.items if i.name not in chosen])
            data[seed] = train_data(seed, labelled.only(chosen), judged, unlabelled=rest)
        groups.append(
            Group(
                name=f"{FEW_REAL} labelled frames, {name}",
                variants=FEW_LABELS,
                data=data,
                judged={"judged": judged},
                start=starting_encoder(plan),
            )
        )
    return groups


def norms(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """Normalisation of encoder and decoder, on the frames that the other tables do not judge.

    Judged on the first half of the other operation, and on the robot's Dataset1.
    """
    return [
        replace(
            group,
            name=f"Normalisation, {group.name}",
            variants=NORMS,
            judged={"not judged elsewhere": group.data[plan.seeds[0]].target},
        )
        for group in (*endovis(plan, root), *robotic(plan, root, robot))
    ]


def still(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """Batch normalisation against what does not depend on the batch, on the judged frames."""
    return [
        replace(
            group, name=f"Normalisation on judged frames, {group.name}", variants=STILL_OR_BATCHES
        )
        for group in (*endovis(plan, root), *robotic(plan, root, robot))
    ]


def still_methods(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """Adaptation and texture where nothing depends on the batch, against `supervised` likewise."""
    return [
        replace(group, name=f"Encoder frozen, GroupNorm: {group.name}", variants=STILL_ADAPTED)
        for group in (*endovis(plan, root), *robotic(plan, root, robot))
    ]


def still_oracle(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """What labels of the target would give where nothing depends on the batch."""
    return [
        replace(
            group, name=f"Encoder frozen, GroupNorm: {group.name}", variants=(STILL_SUPERVISED,)
        )
        for group in (*endovis_oracle(plan, root), *robotic_oracle(plan, robot))
    ]


def still_few(plan: Plan, root: Path, robot: Path) -> list[Group]:
    """Few labels where nothing depends on the batch, against `supervised` of the same kind."""
    return [
        replace(group, name=f"Encoder frozen, GroupNorm: {group.name}", variants=STILL_FEW)
        for group in few_real_labels(plan, root, robot)
    ]


def starting_encoder(plan: Plan) -> Path:
    """File of the given weights, or of an encoder trained on robotic phantoms.

    No test set contains these scenes.
    """
    if plan.weights:
        return plan.weights
    work = plan.work
    file = work / "encoder.pth"
    if not file.is_file():
        frames = scenes(work, "robotic", parts=True, seed=12)
        data = train_data(5, frames.subset("train"), frames.subset("val"))
        out = work / "starting-encoder"
        train_or_load(out, "supervised", SMALL, data=data, steps=START_STEPS, lr=plan.lr)
        network: Any = load_deployable(out / "last.ckpt")[0]
        torch.save(network.encoder.state_dict(), file)
    return file
