"""Time, memory and correctness of implementations.

timed([Implementation("add", lambda: torch.ones(2) + 1)], 7, torch.device("cpu"))  # {"add": ms}
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from helpers.glcm.implementations import Implementation, soft_implementations

Shape = tuple[int, int, int, int]
"""``[B,C,H,W]``"""


def timed(
    implementations: Sequence[Implementation],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median milliseconds of every implementation; their rounds alternate."""
    times: dict[str, list[float]] = {one.name: [] for one in implementations}
    for _ in range(rounds):
        for implementation in implementations:
            if device.type == "cuda":
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                implementation.run()
                end.record()
                end.synchronize()
                times[implementation.name].append(start.elapsed_time(end))
            else:
                began = clock()
                implementation.run()
                times[implementation.name].append(1000 * (clock() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def verified(
    implementations: Sequence[Implementation], expected: np.ndarray, outer_product_bytes: int
) -> list[Implementation]:
    """The implementations that can run here and give the expected values, ``[B]``.

    Raises:
        SystemExit: One gives other values.
    """
    result = []
    for implementation in implementations:
        if "outer products" in implementation.name and outer_product_bytes > 6e9:
            print(
                f"  {implementation.name}: skipped, it needs {outer_product_bytes / 1e9:.0f} GB",
                flush=True,
            )
            continue
        try:
            value = implementation.run().double().cpu().numpy()
        except Exception as error:  # no compiler, or too little memory
            print(f"  {implementation.name}: skipped, {type(error).__name__}", flush=True)
            continue
        if np.abs(value - expected).max() > 1e-4:
            raise SystemExit(f"{implementation.name} gives {value}, expected {expected}")
        result.append(implementation)
    return result


def copy_rate(device: torch.device, clock: Callable[[], float]) -> float:
    """Bytes per millisecond of a plain copy, read and written."""
    source = torch.zeros(2**26 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    copy = Implementation("copy", lambda: target.copy_(source))
    copy.run()
    return 2 * source.nbytes / timed([copy], 15, device, clock)["copy"]


def peak_growth(name: str, shape: Shape, device: torch.device, program: Path) -> float:
    """Megabytes by which one soft implementation raises the peak of memory.

    On the CPU ``program`` runs with ``--peak-of`` in a new process.
    """
    if device.type == "cuda":
        z = torch.randn(shape, device=device, requires_grad=True)
        by_name = {one.name: one for one in soft_implementations(z, False)}
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        by_name[name].run()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    command = [sys.executable, str(program), "--peak-of", name, "--shape", *map(str, shape)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(completed.stdout))


def process_peak(name: str, shape: Shape) -> float:
    """Megabytes by which one soft implementation raises the peak of this process (Linux)."""
    z = torch.randn(shape, requires_grad=True)
    warm = torch.randn(1, shape[1], 16, 16, requires_grad=True)
    {one.name: one for one in soft_implementations(warm, False)}[name].run()
    run = {one.name: one for one in soft_implementations(z, False)}[name].run
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident_peak()
    run()
    return (_resident_peak() - before) / 1000


def _resident_peak() -> int:
    """Kilobytes since the last reset."""
    words = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()
    return int(words[0])


def processor_name() -> str:
    """Name of the processor and number of its cores."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = text.split("model name")[1].split(":", 1)[1].splitlines()[0].strip()
    except (OSError, IndexError):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
