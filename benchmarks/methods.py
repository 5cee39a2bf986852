"""Compares the segmentation methods with their baselines on phantom scenes and on real operations.

    python benchmarks/methods.py few-labels-5 few-labels-10 texture adaptation --work runs/methods

Everything is fixed before a run starts: scores are those of the last step on frames that nothing
was trained or chosen on. Runs that are done are kept, so a call that was cut short goes on.
The tables in docs/methods.md come from here.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.config import from_mapping
from trocar.train.data.phantom import PhantomConfig, write_phantom
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.job import Job
from trocar.train.loop import train
from trocar.train.methods import find_method
from trocar.train.methods.protocol import TrainData
from trocar.train.opening import hide_labels
from trocar.train.settings import RunConfig

SIZE = (64, 80)
PAINTED = (128, 160)
DIFFICULTY = 0.3
NETWORK: dict[str, Any] = {"size": SIZE, "encoder": "tu-lcnet_050", "decoder_channels": 32}
SEEDS = (0, 1, 2)

Arm = tuple[str, str, dict[str, Any]]
"""Name in the table, method, its settings."""

SUPERVISED: Arm = ("supervised (CE)", "supervised", {"w_dice": 0.0})
FEW_LABELS: tuple[Arm, ...] = (
    SUPERVISED,
    ("cross-consistency", "cross-consistency", {}),
)
TEXTURE: tuple[Arm, ...] = (
    SUPERVISED,
    ("texture-entropy", "texture-entropy", {}),
    ("supervised (CE + Dice)", "supervised", {}),
    ("CE + Dice + texture", "supervised", {"w_texture": 0.1}),
)
ADAPTATION: tuple[Arm, ...] = (
    ("source only", "supervised", {}),
    ("mean-teacher", "mean-teacher", {}),
)


def phantom(work: Path, domain: str, *, frames: int = 240) -> FrameSet:
    """Scenes of two frames each, instruments told from tissue."""
    folder = work / f"phantom-{domain}"
    if not folder.exists():
        config = PhantomConfig(
            frames=frames,
            size=PAINTED,
            domain=domain,
            difficulty=DIFFICULTY,
            clip_length=2,
            fps=2,
            seed=11,
        )
        write_phantom(folder, config)
    return as_binary(open_frames(folder))


def as_binary(frames: FrameSet) -> FrameSet:
    """All instruments one class."""

    def read(item: Item) -> Sample:
        sample = frames.read(item)
        assert sample.mask is not None
        mask = np.where(sample.mask == IGNORE_INDEX, sample.mask, np.minimum(sample.mask, 1))
        return replace(sample, mask=mask.astype(np.uint8))

    return replace(frames, table=ClassTable.from_names(["background", "instrument"]), read=read)


def run(work: Path, group: str, arm: Arm, seed: int, data: TrainData, steps: int) -> dict[str, Any]:
    """Trains one arm with one seed, or reads what an earlier call left."""
    name, method, settings = arm
    out = work / group / name.replace(" ", "_") / f"seed{seed}"
    if not (out / "metrics.json").is_file():
        kind = find_method(method)
        made = kind(from_mapping(kind.Config, {**NETWORK, **settings}, source="benchmark"))
        loop = RunConfig(
            steps=steps,
            batch_size=data.batch_size,
            lr=2e-3,
            seed=seed,
            workers=0,
            device="cpu",
            evaluate_every=steps,
            save_every=max(steps // 4, 1),
            cache_mb=256,
        )
        sets = replace(data, seed=seed, cache_mb=256)
        train(Job(method=made, run=loop, data=sets, name=name, out=out, resume=out.exists()))
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


def compared(
    work: Path, group: str, arms: tuple[Arm, ...], datas: dict[int, TrainData], steps: int
) -> str:
    """One table: each arm's mean and spread over the seeds, and the paired difference."""
    results = {
        arm[0]: [run(work, group, arm, seed, data, steps) for seed, data in datas.items()]
        for arm in arms
    }
    base = next(iter(results.values()))
    names = list(base[0]["last"]["scores"])
    shown = ["iou_mean", *(n for n in names if n.startswith("iou_") and n not in _HIDDEN)]
    lines = [
        f"{group}: {steps} steps, batch {next(iter(datas.values())).batch_size}, "
        f"{len(datas)} seeds, last step, in points",
        "",
        "| method | " + " | ".join(shown) + " | iou_mean against the first | time a step |",
        "| --- " * (len(shown) + 3) + "|",
    ]
    for name, runs in results.items():
        cells = [cell([100 * r["last"]["scores"][s] for r in runs]) for s in shown]
        pairs = [
            100 * (r["last"]["scores"]["iou_mean"] - b["last"]["scores"]["iou_mean"])
            for r, b in zip(runs, base, strict=True)
        ]
        better = f"{mean(pairs):+.1f} ({', '.join(f'{p:+.1f}' for p in pairs)})"
        cost = mean(r["seconds"] for r in runs) / mean(b["seconds"] for b in base)
        lines.append(
            f"| {name} | {' | '.join(cells)} | {'' if runs is base else better} | {cost:.2f} x |"
        )
    return "\n".join(lines) + "\n"


_HIDDEN = {"iou_mean", "iou_background", "iou_binary"}


def cell(values: list[float]) -> str:
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.1f} ± {spread:.1f}"


def few_labels(work: Path, steps: int, share: float) -> list[str]:
    frames = phantom(work, "laparoscopy")
    datas = {}
    for seed in SEEDS:
        labelled, rest = hide_labels(frames.subset("train"), share, seed)
        datas[seed] = TrainData(
            labelled=labelled,
            validation=frames.subset("test"),
            unlabelled=rest,
            batch_size=4,
            seed=seed,
        )
    return [compared(work, f"few-labels-{share:.0%}", FEW_LABELS, datas, steps)]


def texture(work: Path, steps: int) -> list[str]:
    frames = phantom(work, "laparoscopy")
    datas = {
        seed: TrainData(
            labelled=frames.subset("train"),
            validation=frames.subset("test"),
            batch_size=4,
            seed=seed,
        )
        for seed in SEEDS
    }
    return [compared(work, "texture", TEXTURE, datas, steps)]


def adaptation(work: Path, steps: int) -> list[str]:
    source, target = phantom(work, "laparoscopy"), phantom(work, "robotic")
    texts = []
    for group, validation, arms in (
        ("adaptation-on-target", target.subset("test"), ADAPTATION),
        ("adaptation-on-source", source.subset("test"), ADAPTATION[:1]),
    ):
        datas = {
            seed: TrainData(
                labelled=source.subset("train"),
                validation=validation,
                target=target.subset("train"),
                batch_size=4,
                seed=seed,
            )
            for seed in SEEDS
        }
        texts.append(compared(work, group, arms, datas, steps))
    return texts


def endovis(work: Path, steps: int, root: Path) -> list[str]:
    """EndoVis 2015 rigid: operation 1 against operation 2, both ways."""
    frames = open_frames(root, task="binary")
    groups = frames.groups[:2]
    parts = {g: frames.only(i.name for i in frames.items if i.group == g) for g in groups}
    texts = []
    for train_on, test_on in (groups, groups[::-1]):
        datas = {
            seed: TrainData(
                labelled=parts[train_on],
                validation=parts[test_on],
                target=parts[test_on],
                batch_size=4,
                seed=seed,
            )
            for seed in SEEDS
        }
        way = f"{train_on}-to-{test_on}"
        texts.append(compared(work, f"endovis-{way}", ADAPTATION, datas, steps))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts",
        nargs="+",
        choices=["few-labels-5", "few-labels-10", "texture", "adaptation", "endovis"],
    )
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--endovis", type=Path, help="folder with OP1/ and OP2/")
    args = parser.parse_args()
    for part in args.parts:
        if part == "endovis":
            if args.endovis is None:
                parser.error("endovis needs --endovis DIR")
            texts = endovis(args.work, args.steps, args.endovis)
        else:
            chosen = {
                "few-labels-5": lambda w, s: few_labels(w, s, 0.05),
                "few-labels-10": lambda w, s: few_labels(w, s, 0.1),
                "texture": texture,
                "adaptation": adaptation,
            }
            texts = chosen[part](args.work, args.steps)
        print("\n".join(texts), flush=True)


if __name__ == "__main__":
    main()
