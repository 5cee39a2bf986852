"""Checks and times co-occurrence entropy against other ways to compute it.

    python benchmarks/glcm.py                        # on the GPU if there is one, else the CPU
    python benchmarks/glcm.py --output docs/table.md

Every way is first compared with the reference; only what agrees is timed. The rounds of all ways
alternate, so that a busy machine slows all alike; times are medians (of device events on a GPU).
The floor is the time to read each input once and write each output once at the speed of a plain
copy on the same device. Memory is the growth of the peak, on the CPU in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trocar.cuda_kernels import DEFAULT_OFFSETS, glcm_entropy, soft_glcm_entropy

Shape = tuple[int, int, int, int]  # [B,C,H,W]
SHAPES_CPU: tuple[Shape, ...] = ((4, 2, 256, 320), (8, 8, 512, 512))
SHAPES_GPU: tuple[Shape, ...] = (
    *((4, 2, 256, 320), (8, 8, 512, 512), (8, 8, 512, 640), (16, 8, 1024, 1280)),
    (16, 32, 1024, 1280),
)
LEVELS = (8, 256)


def crops(x: torch.Tensor, offset: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The two ends of all pairs, the last two axes cropped."""
    (dy, dx), (height, width) = offset, x.shape[-2:]
    top, left, bottom, right = max(0, -dy), max(0, -dx), height - max(0, dy), width - max(0, dx)
    return x[..., top:bottom, left:right], x[..., top + dy : bottom + dy, left + dx : right + dx]


def entropy_of(g: torch.Tensor) -> torch.Tensor:
    g = g + g.transpose(-1, -2)
    p = g / g.sum((-1, -2), keepdim=True)
    return -(p * p.clamp_min(1e-8).log()).sum((-1, -2))


def soft_naive(z: torch.Tensor) -> torch.Tensor:
    """All outer products, then their sum."""
    found = []
    for offset in DEFAULT_OFFSETS:
        here, there = crops(z.softmax(1), offset)
        found.append(entropy_of((here[:, :, None] * there[:, None]).sum((-1, -2))))
    return torch.stack(found).mean(0)


def soft_unfold(z: torch.Tensor) -> torch.Tensor:
    """Neighbourhoods by unfold (offsets of distance 1 alone)."""
    p = z.softmax(1)
    batch, classes, height, width = p.shape
    around = torch.nn.functional.unfold(p, 3, padding=1).view(batch, classes, 9, height * width)
    own, found = p.view(batch, classes, -1), []
    for dy, dx in DEFAULT_OFFSETS:
        found.append(entropy_of(own @ around[:, :, 4 + 3 * dy + dx].transpose(1, 2)))
    return torch.stack(found).mean(0)


def soft_einsum(z: torch.Tensor) -> torch.Tensor:
    """One einsum on crops for each offset."""
    p = z.softmax(1)
    pairs = (crops(p, offset) for offset in DEFAULT_OFFSETS)
    found = [entropy_of(torch.einsum("bihw,bjhw->bij", *pair)) for pair in pairs]
    return torch.stack(found).mean(0)


def hard_scikit_image(labels: torch.Tensor, levels: int) -> torch.Tensor:
    from skimage.feature import graycomatrix

    angles, found = np.radians([0, 45, 90, 135]), []
    for image in labels.cpu().numpy():
        p = graycomatrix(image, [1], angles, levels, symmetric=True, normed=True)[:, :, 0]
        found.append(-(p * np.log(np.where(p > 0, p, 1))).sum((0, 1)).mean())
    return torch.tensor(found)


def hard_numpy(labels: torch.Tensor, levels: int) -> torch.Tensor:
    found = []
    for image in labels.cpu().numpy().astype(np.uint16):
        for offset in DEFAULT_OFFSETS:
            here, there = crops(image, offset)
            bins = np.bincount((here * np.uint16(levels) + there).ravel(), minlength=levels**2)
            g = bins.reshape(levels, levels)
            p = (g + g.T) / (2 * g.sum())
            found.append(-(p * np.log(np.where(p > 0, p, 1))).sum())
    return torch.tensor(found).view(len(labels), -1).mean(1)


def hard_one_hot(labels: torch.Tensor, levels: int) -> torch.Tensor:
    hot = torch.nn.functional.one_hot(labels.long(), levels).movedim(-1, 1).float()
    pairs = (crops(hot, offset) for offset in DEFAULT_OFFSETS)
    found = [entropy_of(torch.einsum("bihw,bjhw->bij", *pair)) for pair in pairs]
    return torch.stack(found).mean(0)


def hard_cupy(labels: torch.Tensor, levels: int) -> torch.Tensor:
    import cupy

    found = []
    for image in cupy.from_dlpack(labels).astype(cupy.int32):
        for offset in DEFAULT_OFFSETS:
            here, there = crops(image, offset)
            g = cupy.bincount((here * levels + there).ravel(), minlength=levels**2)
            found.append(torch.from_dlpack(g).view(levels, levels).float())
    return entropy_of(torch.stack(found).view(len(labels), -1, levels, levels)).mean(1)


@dataclass(frozen=True)
class Way:
    """One way to do a task; `run` gives the entropies, [B]."""

    name: str
    run: Callable[[], torch.Tensor]


def soft_ways(z: torch.Tensor, compiled: bool) -> list[Way]:
    """Forward and backward of the entropy of logits; the gradient is left in ``z.grad``."""

    def trained(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            z.grad = None
            value = function(z)
            value.sum().backward()
            return value.detach()

        return run

    def ours(mode: str, backend: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: soft_glcm_entropy(x, from_logits=True, mode=mode, backend=backend)

    ways = [
        Way("naive torch, outer products", trained(soft_naive)),
        Way("naive torch, unfold", trained(soft_unfold)),
        Way("einsum on crops", trained(soft_einsum)),
        Way("trocar torch", trained(ours("soft", "torch"))),
        Way("trocar torch, straight-through", trained(ours("straight_through", "torch"))),
    ]
    if compiled:
        ways.append(
            Way("torch.compile of trocar torch", trained(torch.compile(ours("soft", "torch"))))
        )
        ways.append(Way("torch.compile of einsum", trained(torch.compile(soft_einsum))))
    if z.is_cuda:
        ways.append(Way("trocar cuda", trained(ours("soft", "cuda"))))
        ways.append(Way("trocar cuda, straight-through", trained(ours("straight_through", "cuda"))))
    return ways


def hard_ways(labels: torch.Tensor, levels: int) -> list[Way]:
    ways = [
        Way("scikit-image", lambda: hard_scikit_image(labels, levels)),
        Way("NumPy bincount", lambda: hard_numpy(labels, levels)),
        Way("trocar torch", lambda: glcm_entropy(labels, levels=levels, backend="torch")),
    ]
    if levels <= 64:
        ways.append(Way("naive torch, one-hot", lambda: hard_one_hot(labels, levels)))
    if labels.is_cuda:
        try:
            import cupy  # noqa: F401

            ways.append(Way("CuPy bincount", lambda: hard_cupy(labels, levels)))
        except ImportError:
            pass
        ways.append(Way("trocar cuda", lambda: glcm_entropy(labels, levels=levels, backend="cuda")))
    return ways


def timed(
    ways: Sequence[Way],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median milliseconds of every way, the rounds of all alternating."""
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            if device.type == "cuda":
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                way.run()
                end.record()
                end.synchronize()
                found[way.name].append(start.elapsed_time(end))
            else:
                began = clock()
                way.run()
                found[way.name].append(1000 * (clock() - began))
    return {name: statistics.median(times) for name, times in found.items()}


def agreeing(ways: Sequence[Way], expected: np.ndarray, limit_bytes: int) -> list[Way]:
    """The ways that give the reference's values; the others are named and left out."""
    good = []
    for way in ways:
        if "outer products" in way.name and limit_bytes > 6e9:
            print(f"  {way.name}: left out, it would take {limit_bytes / 1e9:.0f} GB", flush=True)
            continue
        try:
            value = way.run().double().cpu().numpy()
        except Exception as error:  # a missing compiler, or memory that does not suffice
            print(f"  {way.name}: left out, {type(error).__name__}", flush=True)
            continue
        if np.abs(value - expected).max() > 1e-4:
            raise SystemExit(f"{way.name} gives {value}, expected {expected}")
        good.append(way)
    return good


def copy_rate(device: torch.device, clock: Callable[[], float]) -> float:
    """Bytes a millisecond that a plain copy moves, read and written."""
    source = torch.zeros(2**26 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    way = Way("copy", lambda: target.copy_(source))
    way.run()
    return 2 * source.nbytes / timed([way], 15, device, clock)["copy"]


def peak_growth(name: str, shape: Shape, device: torch.device) -> float:
    """Megabytes by which one soft way raises the peak of memory."""
    if device.type == "cuda":
        z = torch.randn(shape, device=device, requires_grad=True)
        ways = {way.name: way for way in soft_ways(z, False)}
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        ways[name].run()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    command = [sys.executable, __file__, "--peak-of", name, "--shape", *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def own_peak(name: str, shape: Shape) -> float:
    z = torch.randn(shape, requires_grad=True)
    warm = torch.randn(1, shape[1], 16, 16, requires_grad=True)
    {way.name: way for way in soft_ways(warm, False)}[name].run()
    run = {way.name: way for way in soft_ways(z, False)}[name].run
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    before = resident_peak()
    run()
    return (resident_peak() - before) / 1000


def resident_peak() -> int:
    """Kilobytes, since the peak was last forgotten."""
    words = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()
    return int(words[0])


def processor_name() -> str:
    """What the processor calls itself, as far as the system says, and how many of its cores."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = text.split("model name")[1].split(":", 1)[1].splitlines()[0].strip()
    except (OSError, IndexError):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", nargs=4, type=int, help="B C H W, instead of the usual ones")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of torch on the CPU")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="on a CPU that others use too: count this process's time (with --threads 1)",
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="time torch.compile too; left out, on a GPU alone",
    )
    parser.add_argument("--machine", help="how the table calls the machine")
    parser.add_argument("--output", type=Path, help="write the table here as well")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak_of:
        print(json.dumps(own_peak(options.peak_of, tuple(options.shape))))
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
        "| task | B×C×H×W | way | ms | × trocar torch | × floor | GB/s | peak MB |",
        "| --- | --- | --- | --: | --: | --: | --: | --: |",
    ]
    for shape in shapes:
        batch, classes, height, width = shape
        size = "×".join(map(str, shape))
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(shape, generator=generator).to(device).requires_grad_()
        print(f"soft {size}", flush=True)
        small = z.detach().cpu().numpy() if z.numel() < 3e7 else None
        expected = (
            soft_glcm_entropy(small, from_logits=True, mode="soft")
            if small is not None
            else soft_einsum(z.detach().double()).cpu().numpy()
        )
        limit = 4 * batch * classes**2 * height * width * len(DEFAULT_OFFSETS)
        ways = soft_ways(z, gpu if options.compile is None else options.compile)
        straight = [way for way in ways if "straight" in way.name]
        ways = agreeing([way for way in ways if way not in straight], expected, limit)
        hard_value = soft_glcm_entropy(z.detach(), from_logits=True, mode="hard", backend="torch")
        ways += agreeing(straight, hard_value.double().cpu().numpy(), limit)
        peaks = {
            way.name: peak_growth(way.name, shape, device)
            for way in ways
            if "compile" not in way.name
        }
        moved = 3 * z.nbytes  # read forth and back, gradient written
        rows = [("soft, forward + backward", ways, moved, peaks)]
        del small
        for levels in LEVELS:
            labels = torch.randint(
                0, levels, (batch, height, width), dtype=torch.uint8, generator=generator
            ).to(device)
            truth = hard_scikit_image(labels, levels).numpy()
            good = agreeing(hard_ways(labels, levels), truth, 0)
            rows.append((f"hard, {levels} levels", good, labels.nbytes, {}))
        for task, good, floor_bytes, memory in rows:
            times = timed(good, options.rounds, device, clock)
            for way in good:
                ms = times[way.name]
                peak = f"{memory[way.name]:.0f}" if way.name in memory else ""
                lines.append(
                    f"| {task} | {size} | {way.name} | {ms:.2f} "
                    f"| {ms / times['trocar torch']:.2f} | {ms * rate / floor_bytes:.1f} "
                    f"| {floor_bytes / ms / 1e6:.2f} | {peak} |"
                )
    table = "\n".join(lines) + "\n"
    print(table)
    if options.output:
        options.output.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
