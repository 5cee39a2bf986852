"""Verify and time co-occurrence entropy against other implementations.

    python benchmarks/glcm.py                        # on the GPU if there is one, else the CPU
    python benchmarks/glcm.py --output docs/table.md

Every implementation is first compared with the reference, and only timed if it agrees. The rounds
of all implementations alternate, so that other load on the machine affects all of them. Times are
medians, of device events on a GPU. ``× memcpy`` is the time relative to reading each input once and
writing each output once at the speed of a plain copy on the same device. Memory is the growth of
the peak, on the CPU in a separate process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from helpers.glcm.implementations import (
    Implementation,
    hard_implementations,
    hard_scikit_image,
    soft_einsum,
    soft_implementations,
)
from helpers.glcm.measurement import (
    Shape,
    copy_rate,
    peak_growth,
    process_peak,
    processor_name,
    timed,
    verified,
)

from trocar.cuda_kernels import DEFAULT_OFFSETS, soft_glcm_entropy

SHAPES_CPU: tuple[Shape, ...] = ((4, 2, 256, 320), (8, 8, 512, 512))
SHAPES_GPU: tuple[Shape, ...] = (
    *((4, 2, 256, 320), (8, 8, 512, 512), (8, 8, 512, 640), (16, 8, 1024, 1280)),
    (16, 32, 1024, 1280),
)
LEVELS = (8, 256)


@dataclass(frozen=True)
class Task:
    """Verified implementations of one task.

    Attributes:
        name: First column of the table.
        implementations: The ones to time.
        moved: Bytes of the inputs read once and the outputs written once.
        peaks: Megabytes by implementation, where measured.
    """

    name: str
    implementations: Sequence[Implementation]
    moved: int
    peaks: dict[str, float]


def soft_task(z: torch.Tensor, *, compiled: bool) -> Task:
    """Forward and backward of the entropy of logits, ``[B,C,H,W]``."""
    shape: Shape = (z.shape[0], z.shape[1], z.shape[2], z.shape[3])
    batch, classes, height, width = shape
    detached = z.detach()
    expected = (
        soft_glcm_entropy(detached.cpu().numpy(), from_logits=True, mode="soft")
        if z.numel() < 3e7
        else soft_einsum(detached.double()).cpu().numpy()
    )
    outer_products = 4 * batch * classes**2 * height * width * len(DEFAULT_OFFSETS)
    every = soft_implementations(z, compiled)
    straight = [one for one in every if "straight" in one.name]
    soft = [one for one in every if one not in straight]
    hard_value = soft_glcm_entropy(detached, from_logits=True, mode="hard", backend="torch")
    good = verified(soft, expected, outer_products)
    good += verified(straight, hard_value.double().cpu().numpy(), outer_products)
    peaks = {
        one.name: peak_growth(one.name, shape, z.device, Path(__file__))
        for one in good
        if "compile" not in one.name
    }
    # The logits are read by both passes, and the gradient is written.
    return Task("soft, forward + backward", good, 3 * z.nbytes, peaks)


def hard_task(labels: torch.Tensor, levels: int) -> Task:
    """Entropy of label maps, ``[B,H,W]``."""
    expected = hard_scikit_image(labels, levels).numpy()
    good = verified(hard_implementations(labels, levels), expected, 0)
    return Task(f"hard, {levels} levels", good, labels.nbytes, {})


def tasks_of(shape: Shape, device: torch.device, *, compiled: bool) -> list[Task]:
    """The tasks on random maps of one shape."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(shape, generator=generator).to(device).requires_grad_()
    tasks = [soft_task(z, compiled=compiled)]
    for levels in LEVELS:
        size = (shape[0], *shape[2:])
        labels = torch.randint(0, levels, size, dtype=torch.uint8, generator=generator)
        tasks.append(hard_task(labels.to(device), levels))
    return tasks


def rows(
    task: Task,
    size: str,
    rounds: int,
    *,
    device: torch.device,
    rate: float,
    clock: Callable[[], float],
) -> list[str]:
    """One row of the table for each implementation; ``rate`` is that of `copy_rate`."""
    times = timed(task.implementations, rounds, device, clock)
    lines = []
    for one in task.implementations:
        ms = times[one.name]
        peak = f"{task.peaks[one.name]:.0f}" if one.name in task.peaks else ""
        lines.append(
            f"| {task.name} | {size} | {one.name} | {ms:.2f} | {ms / times['trocar torch']:.2f} "
            f"| {ms * rate / task.moved:.1f} | {task.moved / ms / 1e6:.2f} | {peak} |"
        )
    return lines


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Verify and time co-occurrence entropy against other implementations."
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--shape", nargs=4, type=int, metavar=("B", "C", "H", "W"), help="only this shape"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds of timing (default: 7)")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="measure processor time instead of elapsed time, with --threads 1 on a busy CPU",
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="time torch.compile too (default: on a GPU only)",
    )
    parser.add_argument("--machine", help="name of the machine in the table")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak_of:
        print(json.dumps(process_peak(options.peak_of, tuple(options.shape))))
        return 0
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    machine = options.machine or (torch.cuda.get_device_name() if gpu else processor_name())
    shapes = [tuple(options.shape)] if options.shape else SHAPES_GPU if gpu else SHAPES_CPU
    clock = time.process_time if options.processor_time else time.perf_counter
    rate = copy_rate(device, clock)
    lines = [
        f"Device: {machine}; torch {torch.__version__}, {torch.get_num_threads()} CPU threads; "
        f"a copy moves {rate / 1e6:.1f} GB/s; medians of {options.rounds} alternating rounds, "
        f"{'processor' if options.processor_time else 'elapsed'} time.",
        "",
        "| task | B×C×H×W | implementation | ms | × trocar torch | × memcpy | GB/s | peak MB |",
        "| --- | --- | --- | --: | --: | --: | --: | --: |",
    ]
    for shape in shapes:
        size = "×".join(map(str, shape))
        print(f"verify {size}", flush=True)
        compiled = gpu if options.compile is None else options.compile
        for task in tasks_of(shape, device, compiled=compiled):
            lines += rows(task, size, options.rounds, device=device, rate=rate, clock=clock)
    table = "\n".join(lines) + "\n"
    print(table)
    if options.output:
        options.output.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
