"""Registers and spills of every kernel on every architecture, as a table.

    main(["--architecture", "sm_90", "--file", "hard.cu"])

The command is ``python -m trocar.cuda_kernels.build``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trocar.cuda_kernels.compilation.compilers import (
    Compiler,
    KernelUsage,
    find_compiler,
    parse_usages,
)
from trocar.cuda_kernels.compilation.sources import ARCHITECTURES, Defines, supports

CONFIGURATIONS: tuple[tuple[str, Defines], ...] = (
    ("hard.cu", (("LABEL", "unsigned char"),)),
    ("hard.cu", (("LABEL", "long long"),)),
    ("entropy.cu", (("COUNT", "int"),)),
    ("entropy.cu", (("COUNT", "float"),)),
    *(
        (file, (("SCALAR", scalar), ("CLASSES", str(classes)), ("FROM_LOGITS", "1")))
        for file in ("soft_forward.cu", "soft_backward.cu")
        for scalar, classes in (
            ("float", 2),
            ("float", 8),
            ("portable::Half", 8),
            ("float", 16),
            ("portable::Half", 16),
            ("portable::Bfloat16", 32),
            ("float", 64),
            ("double", 8),
        )
    ),
    ("location_maps.cu", (("SCORE", "float"), ("CONFIDENCE", "float"))),
    ("location_maps.cu", (("SCORE", "portable::Half"), ("CONFIDENCE", "portable::Half"))),
    ("location_components.cu", (("CONFIDENCE", "portable::Half"),)),
    ("location_components.cu", (("CONFIDENCE", "unsigned char"),)),
    ("location_split.cu", ()),
    ("location_tips.cu", ()),
    ("nv12.cu", (("IMAGE", "float"),)),
    ("nv12.cu", (("IMAGE", "portable::Half"),)),
    *(
        (
            "soft_forward_tensor.cu",
            (("SCALAR", scalar), ("CLASSES", str(classes)), ("FROM_LOGITS", "1")),
        )
        for scalar, classes in (
            ("float", 16),
            ("portable::Half", 24),
            ("portable::Bfloat16", 32),
            ("float", 64),
        )
    ),
)
"""Sources with the choices that ``python -m trocar.cuda_kernels.build`` compiles.

Any other choice is compiled when it is first needed.
"""

REGISTERS_PER_SM = 65536
"""32-bit registers of a multiprocessor, the same from sm_75 to sm_120."""


@dataclass(frozen=True)
class Row:
    """One kernel of one configuration on one architecture."""

    file: str
    choices: str
    architecture: str
    usage: KernelUsage | None
    """None for PTX, which the assembler has not read."""
    size: int
    """Bytes of the binary, all its kernels together."""


@dataclass(frozen=True)
class Summary:
    """Ranges of one kernel of one configuration over the architectures."""

    file: str
    choices: str
    kernel: str
    min_registers: int
    max_registers: int
    max_spill_stores: int
    max_spill_loads: int

    def allows(self, usage: KernelUsage) -> bool:
        """Tell whether registers and spills of one architecture lie within the ranges."""
        return (
            self.min_registers <= usage.registers <= self.max_registers
            and usage.spill_stores <= self.max_spill_stores
            and usage.spill_loads <= self.max_spill_loads
        )


def blocks_per_sm(registers: int, threads: int = 256) -> int:
    """Blocks that the registers of a multiprocessor allow at once.

    Registers are allocated to a warp in units of 256, 8 for each thread (CUDA occupancy
    calculator, compute capability 7.5 to 12.0). Shared memory may allow fewer blocks.
    """
    return REGISTERS_PER_SM // (-(-registers // 8) * 8 * threads)


def measure(
    compiler: Compiler, architectures: Sequence[str], file: str | None = None
) -> Iterator[Row]:
    """Compile the configurations and give one row per kernel and architecture.

    Args:
        compiler: Compiles; no GPU is needed.
        architectures: ``sm_XX`` or ``compute_XX``. A source that an architecture cannot run is
            skipped there.
        file: Compile this source only. None: all.

    Raises:
        BackendError: The compiler refuses a source or an architecture.
    """
    for source, defines in CONFIGURATIONS:
        if file not in (None, source):
            continue
        choices = " ".join(value.removeprefix("portable::") for _, value in defines)
        for architecture in architectures:
            if not supports(source, architecture):
                continue
            compiled = compiler.compile(source, defines, architecture)
            usages: list[KernelUsage | None] = [*parse_usages(compiled.log)]
            for usage in usages or [None]:
                yield Row(source, choices, architecture, usage, len(compiled.binary))


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Ranges over the architectures, one for each source, choice and kernel, in order."""
    groups: dict[tuple[str, str, str], list[KernelUsage]] = {}
    for row in rows:
        if row.usage is not None:
            groups.setdefault((row.file, row.choices, row.usage.kernel), []).append(row.usage)
    return [
        Summary(
            file=file,
            choices=choices,
            kernel=kernel,
            min_registers=min(usage.registers for usage in usages),
            max_registers=max(usage.registers for usage in usages),
            max_spill_stores=max(usage.spill_stores for usage in usages),
            max_spill_loads=max(usage.spill_loads for usage in usages),
        )
        for (file, choices, kernel), usages in groups.items()
    ]


def summary_table(summaries: Iterable[Summary]) -> str:
    """Markdown table of ranges over the architectures."""
    lines = [
        "| source | choices | kernel | registers a thread | blocks of 256 threads per SM "
        "| spilled bytes a thread, stored + loaded |",
        "| --- | --- | --- | --: | --: | --: |",
    ]
    for one in summaries:
        lines.append(
            f"| {one.file} | {one.choices} | {one.kernel} "
            f"| {one.min_registers} to {one.max_registers} | {blocks_per_sm(one.max_registers)} "
            f"| {one.max_spill_stores} + {one.max_spill_loads} |"
        )
    return "\n".join(lines) + "\n"


def read_summary(text: str) -> list[Summary]:
    """Read a table of ``summary_table`` back from the text around it."""
    number = r"(\d+)"
    pattern = (
        rf"^\| (\S+\.cu) \| (.*?) \| (\w+) \| {number} to {number} \| {number} "
        rf"\| {number} \+ {number} \|$"
    )
    return [
        Summary(match[1], match[2], match[3], *(int(match[n]) for n in (4, 5, 7, 8)))
        for match in re.finditer(pattern, text, re.M)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile every configuration for every architecture and print registers and spills."""
    parser = argparse.ArgumentParser(
        prog="python -m trocar.cuda_kernels.build",
        description="Print registers and spills of the compiled kernels; no GPU is needed.",
    )
    parser.add_argument(
        "--architecture",
        nargs="*",
        default=[*ARCHITECTURES, "compute_75"],
        help="sm_XX or compute_XX (default: all that are supported)",
    )
    parser.add_argument("--file", help="compile this source only, such as hard.cu")
    parser.add_argument("--nvcc", action="store_true", help="use nvcc even if NVRTC is installed")
    parser.add_argument(
        "--summary", action="store_true", help="print ranges over the architectures"
    )
    options = parser.parse_args(arguments)
    compiler = find_compiler("nvcc" if options.nvcc else None)
    print(f"compiler: {compiler.name}\n")
    rows = measure(compiler, options.architecture, options.file)
    if options.summary:
        print(summary_table(summarise(rows)), end="")
        return 0
    print(
        "| source | choices | kernel | architecture | registers | blocks per SM "
        "| spilled bytes, stored + loaded | size |"
    )
    print("| --- | --- | --- | --- | --: | --: | --: | --: |")
    for row in rows:
        start = f"| {row.file} | {row.choices} |"
        if row.usage is None:
            print(f"{start} all | {row.architecture} | | | | {row.size} |", flush=True)
            continue
        usage = row.usage
        print(
            f"{start} {usage.kernel} | {row.architecture} | {usage.registers} "
            f"| {blocks_per_sm(usage.registers)} | {usage.spill_stores} + {usage.spill_loads} "
            f"| {row.size} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
