"""Frames and a briefly trained network for benchmarks/precision.py.

frames = phantoms(12, (512, 640), first_clip=1000)
network = trained("resnet18", parts_table(), (512, 640), 150)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec
from trocar.contract.media.pictures import read_image
from trocar.export.graph.frame_graph import Normalised
from trocar.export.parity.types import GateFrame
from trocar.train.data.phantom import PhantomConfig, phantom_frames

REAL = (
    Path(__file__).resolve().parents[4]
    / "shared"
    / "data"
    / "cholec_instance_seg_sample"
    / "img_dir"
)
CROP = 2
"""Side of a frame divided by the side of a training crop."""
SCENES = 240
"""Training frames, two of each scene."""


def real_frames() -> list[GateFrame]:
    """The real sample frames beside the checkout, if they are there."""
    files = sorted(REAL.glob("*.png")) if REAL.is_dir() else []
    return [GateFrame(name=p.stem, image=read_image(p)) for p in files]


def phantoms(count: int, size: tuple[int, int], *, first_clip: int) -> list[GateFrame]:
    """Frames of the scenes from ``first_clip`` on, two of each scene."""
    config = PhantomConfig(frames=count, size=size, clip_length=2, difficulty=0.3)
    return [
        GateFrame(name=f"phantom {i}", image=frame.image, ground_truth=frame.parts)
        for i, frame in enumerate(phantom_frames(config, first_clip=first_clip))
    ]


def trained(encoder: str, table: ClassTable, size: tuple[int, int], steps: int) -> nn.Module:
    """DeepLabV3+ after ``steps`` of AdamW on random crops of phantom frames.

    One thread; autocast to bfloat16, with float32 weights.
    """
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    spec = InputSpec(height=size[0], width=size[1])
    network = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=len(table))
    whole = Normalised(network, spec).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(whole.parameters(), 3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    frames = phantoms(SCENES, size, first_clip=2000)
    # The network takes multiples of 16.
    height, width = (side // CROP // 16 * 16 for side in size)
    for step in range(steps):
        images, masks = [], []
        for index in rng.integers(len(frames), size=4):
            y, x = rng.integers(size[0] - height + 1), rng.integers(size[1] - width + 1)
            part = (slice(y, y + height), slice(x, x + width))
            turn = int(rng.choice((-1, 1)))
            images.append(frames[index].image[part][:, ::turn])
            masks.append(frames[index].ground_truth[part][:, ::turn])
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        target = torch.from_numpy(np.stack(masks)).long()
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = whole(batch)
        loss = nn.functional.cross_entropy(logits.float(), target, ignore_index=255)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return whole.to(memory_format=torch.contiguous_format).eval()
