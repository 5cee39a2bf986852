"""Steps per second of `supervised` against a bare torch loop, and each method's cost per step.

    OMP_NUM_THREADS=2 python benchmarks/train_throughput.py --rounds 10
    OMP_NUM_THREADS=1 python benchmarks/train_throughput.py --networks      # four networks

With ``--networks`` it times `supervised` alone, for four networks with contiguous and channels-last
weights, each against the bare loop with contiguous weights.

The same network, optimiser and batches in memory for all. Bare loop and methods take turns, and the
median step of all rounds counts, so that a machine that is busy with other things slows all alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.manifest import InputSpec
from trocar.train.data.sample import FrameSet, Item, Sample
from trocar.train.loop import train
from trocar.train.losses import segmentation as losses
from trocar.train.methods import find_method
from trocar.train.methods.protocol import TrainData
from trocar.train.networks.architectures import make_network
from trocar.train.networks.segmentation import Segmenter
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

TABLE = ClassTable.from_names(["background", "shaft", "wrist", "clasper"])
METHODS = ("supervised", "texture-entropy", "mean-teacher", "cross-consistency")
WHY = {
    "supervised": "one pass; the rest is what the loop itself costs",
    "texture-entropy": "a co-occurrence matrix of every image and its gradient",
    "mean-teacher": "a second batch through the student, two forward passes without gradient (the "
    "teacher, and BatchNorm's statistics of the clean target), style, noise, the running average",
    "cross-consistency": "a second batch, seven more decoders, and three passes for VAT",
}
NETWORKS: dict[str, dict[str, str]] = {
    "DeepLabV3+ MobileNetV3-small": {"encoder": "timm-mobilenetv3_small_100"},
    "DeepLabV3+ ResNet-18": {"encoder": "resnet18"},
    "U-Net EfficientNet-Lite0": {"architecture": "unet", "encoder": "tu-efficientnet_lite0"},
    "FPN ConvNeXt-atto": {"architecture": "fpn", "encoder": "tu-convnext_atto"},
}
# Losses at their full height from the first step on: their cost is what is asked.
FULL: dict[str, dict[str, Any]] = {
    "texture-entropy": {"texture_from": 0.0},
    "cross-consistency": {"supervised_fraction": 0.0},
}


class Memory:
    """A source whose one batch lies in memory."""

    def __init__(self, batch: Mapping[str, Any]) -> None:
        self.one = batch

    def __len__(self) -> int:
        return 10

    def batch(self, step: int) -> Mapping[str, Any]:
        """The batch, whatever the step."""
        return self.one


def scenes(size: tuple[int, int], count: int) -> Mapping[str, Any]:
    rng = np.random.default_rng(0)
    mask = torch.zeros(count, *size, dtype=torch.int64)
    for index in range(count):
        top, left = rng.integers(0, size[0] // 2), rng.integers(0, size[1] // 2)
        mask[index, top : top + size[0] // 3, left : left + size[1] // 3] = 1 + index % 3
    image = torch.from_numpy(rng.integers(0, 256, (count, 3, *size))).float()
    return {"image": image, "mask": mask, "name": ["x"] * count, "index": torch.arange(count)}


def bare(network: Segmenter, batch: Mapping[str, Any], steps: int) -> list[float]:
    """Seconds of each step of the plainest loop that trains the same."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    stamps = []
    for _ in range(steps):
        logits = network(batch["image"])
        loss = losses.cross_entropy(logits, batch["mask"]).mean()
        loss = loss + losses.dice(logits, batch["mask"]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        stamps.append(time.perf_counter())
    return list(np.diff(stamps))


def through_the_loop(
    name: str, config: Any, batch: Mapping[str, Any], steps: int, *, channels_last: bool = False
) -> list[float]:
    """Seconds of each step of a method inside the loop."""
    kind: Any = find_method(name)
    stamps: list[float] = []

    class Watched(kind):  # type: ignore[misc]
        def streams(self, data: TrainData) -> Mapping[str, Any]:
            # A method takes of the streams what it knows.
            return {n: Memory(batch) for n in ("labelled", "source", "target", "unlabelled")}

        def after_step(self, progress: Any) -> None:
            super().after_step(progress)
            stamps.append(time.perf_counter())

    item = Item(name="x", image=Path("x.png"))
    one = Sample(
        name="x",
        image=np.ascontiguousarray(batch["image"][0].permute(1, 2, 0).numpy().astype(np.uint8)),
        mask=batch["mask"][0].numpy().astype(np.uint8),
    )
    read: Callable[[Item], Sample] = lambda _: one  # noqa: E731
    frames = FrameSet(name="m", root=Path(), table=TABLE, items=(item,), splits={}, read=read)
    run = RunConfig(steps=steps, batch_size=len(batch["image"]), workers=0, device="cpu",
                    evaluate_every=steps, precision="fp32", channels_last=channels_last,
                    logger=("none",))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        data = TrainData(labelled=frames, validation=frames, batch_size=len(batch["image"]), seed=0)
        train(Job(method=Watched(config), run=run, data=data, name="m", out=Path(folder) / "r"))
    return list(np.diff(stamps))


def four_networks(size: tuple[int, int], batch: Mapping[str, Any], args: Any) -> None:
    """Prints a table of the four networks."""
    print("| network | bare, ms | contiguous, of bare | channels-last, of bare |")
    print("| --- | --- | --- | --- |")
    for title, network in NETWORKS.items():
        kind: Any = find_method("supervised")
        config = from_mapping(kind.Config, {"size": size, **network}, source="benchmark")
        plain = make_network(
            config, classes=len(TABLE), input=InputSpec(height=size[0], width=size[1])
        )
        times: dict[str, list[float]] = {"bare": [], "contiguous": [], "last": []}
        bare(plain, batch, 3)
        for _ in range(args.rounds):
            times["bare"] += bare(plain, batch, args.steps)
            times["contiguous"] += through_the_loop("supervised", config, batch, args.steps)
            times["last"] += through_the_loop(
                "supervised", config, batch, args.steps, channels_last=True
            )
        base, own, last = (statistics.median(times[n]) for n in ("bare", "contiguous", "last"))
        print(f"| {title} | {1000 * base:.0f} | {own / base:.2f} | {last / base:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 160))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--encoder", default="timm-mobilenetv3_small_100")
    parser.add_argument("--networks", action="store_true")
    args = parser.parse_args()
    size = (args.size[0], args.size[1])
    batch = scenes(size, args.batch)
    if args.networks:
        four_networks(size, batch, args)
        return
    network = {"size": size, "encoder": args.encoder}
    configs = {}
    for name in METHODS:
        settings = {**network, **FULL.get(name, {})}
        configs[name] = from_mapping(find_method(name).Config, settings, source="benchmark")
    plain = Segmenter(
        configs["supervised"], classes=len(TABLE), input=InputSpec(height=size[0], width=size[1])
    )
    times: dict[str, list[float]] = {"bare": [], **{name: [] for name in METHODS}}
    bare(plain, batch, 3)
    for _ in range(args.rounds):
        for name in METHODS:
            times["bare"] += bare(plain, batch, args.steps)
            times[name] += through_the_loop(name, configs[name], batch, args.steps)
    base = statistics.median(times["bare"])
    print(f"{args.encoder}, {size[0]}x{size[1]}, batch {args.batch}, "
          f"{torch.get_num_threads()} thread(s), torch {torch.__version__}")  # fmt: skip
    print(f"bare torch loop: {1000 * base:.0f} ms a step")
    print("| method | throughput against the bare loop | time a step against supervised | why |")
    print("| --- | --- | --- | --- |")
    own = statistics.median(times["supervised"])
    for name in METHODS:
        mine = statistics.median(times[name])
        print(f"| {name} | {base / mine:.2f} | {mine / own:.2f} x | {WHY[name]} |")


if __name__ == "__main__":
    main()
