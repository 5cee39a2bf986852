"""Memory format and precision by one short measurement of real steps, where a run leaves them open.

    choice = measure(losses, batch, candidates(run, device), device)
    choice.text        # "chose channels-last, fp32 by measurement (contiguous, fp32 520 ms, …)"

Candidates are timed in turns, so that a machine that is busy with other things slows all alike, and
the median counts. Weights, batch statistics and random numbers are afterwards as they were.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trocar.train.state.settings import AUTO, RunConfig
from trocar.train.step import Losses

MIN_STEPS = 200
"""Runs of fewer steps are not measured: they would not win back the time."""

ROUNDS = 5
GAIN = 0.9
"""A candidate must take at most this share of the plain time, so that noise decides nothing."""

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to compute a step.

    Attributes:
        channels_last: Memory format of the weights.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    channels_last: bool
    precision: str

    def __str__(self) -> str:
        return f"{'channels-last' if self.channels_last else 'contiguous'}, {self.precision}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        candidate: The fastest one, or the plain one where none is clearly faster.
        seconds: Median seconds of a step by candidate; empty where nothing was measured.
    """

    candidate: Candidate
    seconds: Mapping[Candidate, float]

    @property
    def text(self) -> str:
        """The choice with its times, for people."""
        if not self.seconds:
            return ""
        times = ", ".join(f"{one} {1000 * s:.0f} ms" for one, s in self.seconds.items())
        return f"chose {self.candidate} by measurement ({times} a step)"


def resolved(run: RunConfig, candidate: Candidate) -> RunConfig:
    """The settings with the choice in them, which checkpoints and ``config.toml`` record."""
    return replace(
        run,
        channels_last=candidate.channels_last,
        precision=candidate.precision,  # type: ignore[arg-type]
    )


def candidates(run: RunConfig, device: torch.device) -> list[Candidate]:
    """What a run leaves open on a device, the plain one first."""
    formats = [False, True] if run.channels_last is None else [run.channels_last]
    precisions: list[str] = [run.precision]
    if run.precision == AUTO:
        precisions = ["fp32", "bf16"] if _has_bf16(device) else ["fp32"]
    return [Candidate(channels_last=c, precision=p) for p in precisions for c in formats]


def measure(
    losses: Losses, batch: Any, choices: Sequence[Candidate], device: torch.device
) -> Choice:
    """Times steps without the optimiser, and chooses; the network has its state back afterwards.

    Args:
        losses: The losses with their network, on the device.
        batch: One step's batch, on the device.
        choices: What to choose from, the plain one first.
        device: Where the run trains.
    """
    times: dict[Candidate, list[float]] = {one: [] for one in choices}
    with _as_it_was(losses.network, device):
        for turn in range(ROUNDS + 1):
            for one in choices:
                seconds = _time_step(losses, batch, one, device)
                if turn:  # the first step of each compiles and allocates
                    times[one].append(seconds)
    medians = {one: statistics.median(taken) for one, taken in times.items()}
    best = min(medians, key=lambda one: medians[one])
    plain = choices[0]
    chosen = best if medians[best] <= GAIN * medians[plain] else plain
    return Choice(candidate=chosen, seconds=medians)


def _time_step(losses: Losses, batch: Any, one: Candidate, device: torch.device) -> float:
    network = losses.network
    form = torch.channels_last if one.channels_last else torch.contiguous_format
    network.to(memory_format=form)  # type: ignore[call-overload]
    network.zero_grad(set_to_none=True)
    _wait(device)
    begin = time.perf_counter()
    half = _HALF.get(one.precision)
    with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
        terms: Mapping[str, Tensor] = losses(batch, 0)
    total = torch.stack([term.float() for term in terms.values()]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    _wait(device)
    return time.perf_counter() - begin


@contextlib.contextmanager
def _as_it_was(network: nn.Module, device: torch.device) -> Iterator[None]:
    state = copy.deepcopy(network.state_dict())
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            network.train()
            yield
    finally:
        network.zero_grad(set_to_none=True)
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        network.load_state_dict(state)


def _has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; elsewhere it is emulated and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(
        getattr(torch.cpu, name, lambda: False)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
