"""Asks whether a method's extra term pulls the way that the labels would.

    python benchmarks/method_gradients.py --work runs/methods --steps 400

Takes the networks that `benchmarks/methods.py` trained with cross-entropy alone, and for each
compares the gradient of the term with that of the cross-entropy: for L₁ of cross-consistency, by
perturbation, that of the encoder on frames whose labels were hidden from the training; for texture
entropy that of each image's logits. The cosine is 1 where they agree and 0 where the term knows
nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from method_scenes import few_clips, frayed, scenes
from methods import CE, SMALL
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from trocar.train.data.sample import FrameSet
from trocar.train.data.transforms import resize_eval, resize_mask
from trocar.train.losses import segmentation as losses
from trocar.train.losses.supervision_and_texture import texture_difference
from trocar.train.networks.perturbations import PERTURBATIONS, MainOutput
from trocar.train.networks.segmentation import Segmenter
from trocar.train.state.checkpoint import load_deployable

SIZE = SMALL["size"]
FRAMES, BATCH = 48, 8


def batches(frames: FrameSet) -> list[tuple[Tensor, Tensor]]:
    """``FRAMES`` frames spread over a set as images [B,3,h,w] and labels [B,h,w]."""
    chosen = [frames.read(item) for item in frames.items[:: len(frames) // FRAMES][:FRAMES]]
    images = torch.stack([resize_eval(sample.image, SIZE) for sample in chosen])
    masks = torch.stack([m for s in chosen if (m := resize_mask(s.mask, SIZE)) is not None])
    return list(zip(images.split(BATCH), masks.split(BATCH), strict=True))


def network_of(work: Path, group: str, steps: int, seed: int) -> Segmenter:
    network: Any = load_deployable(
        work / f"{group}, {steps} steps" / CE[0] / f"seed{seed}" / "last.ckpt"
    )[0]
    return network.requires_grad_()


def consistency(network: Segmenter, frames: FrameSet) -> dict[str, tuple[float, float]]:
    """Cosine to the labels' gradient and size relative to it, by perturbation."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    shared = [p for n, p in network.named_parameters() if not n.startswith("decoder.")]
    sums: dict[str, Tensor] = {}

    def add(name: str, images: Tensor, loss: Callable[[Any, Tensor], Tensor]) -> None:
        features = network.encode(images)
        found = torch.autograd.grad(
            loss(features, network.decode(features)), shared, materialize_grads=True
        )
        flat = torch.cat([one.flatten() for one in found])
        sums[name] = sums.get(name, torch.zeros_like(flat)) + flat

    def disagreement(kind: str, features: Any, logits: Tensor) -> Tensor:
        main = MainOutput(network.decoder, logits.detach().softmax(dim=1))
        output = network.decode(PERTURBATIONS[kind](features, main)).softmax(dim=1)
        return (output - main.probability).square().mean()

    for images, masks in batches(frames):
        add("labels", images, lambda _, z, y=masks: losses.cross_entropy(z, y).mean())
        for kind in PERTURBATIONS:
            add(kind, images, lambda f, z, k=kind: disagreement(k, f, z))
    truth = sums.pop("labels")
    return {
        kind: (float(cosine_similarity(own, truth, dim=0)), float(own.norm() / truth.norm()))
        for kind, own in sums.items()
    }


def texture(network: Segmenter, frames: FrameSet) -> tuple[float, float]:
    """Cosine to the cross-entropy's gradient and size relative to it, means over images."""
    network.eval()
    cosines, sizes = [], []
    for images, masks in batches(frames):
        logits = network(images).detach().requires_grad_()
        term = texture_difference(logits, masks, frames.table, mode="straight_through").sum()
        own = torch.autograd.grad(term, logits)[0].flatten(1)
        label = losses.cross_entropy(logits, masks).sum()
        other = torch.autograd.grad(label, logits)[0].flatten(1)
        cosines += cosine_similarity(own, other).tolist()
        sizes += (own.norm(dim=1) / other.norm(dim=1)).tolist()
    return fmean(cosines), fmean(sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.manual_seed(0)
    frames = scenes(args.work, "laparoscopy", parts=True).subset("train")
    for share in (0.05, 0.10):
        found = [
            consistency(
                network_of(args.work, f"few labels, {share:.0%}", args.steps, seed),
                few_clips(frames, share, seed)[1],
            )
            for seed in args.seeds
        ]
        print(f"\nL1 at {share:.0%} labels: cosine of each seed; size at weight 1\n")
        for kind in PERTURBATIONS:
            cosines = ", ".join(f"{one[kind][0]:+.2f}" for one in found)
            print(f"{kind:16} {cosines}; {fmean(one[kind][1] for one in found):.2f}")
    print("\ntexture at weight 1: cosine and size of each seed\n")
    for seed in args.seeds:
        network = network_of(args.work, "textured boundaries", args.steps, seed)
        cosine, size = texture(network, frayed(frames))
        print(f"{cosine:+.2f}, {size:.1f}")


if __name__ == "__main__":
    main()
