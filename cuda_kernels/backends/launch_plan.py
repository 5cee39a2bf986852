"""How a problem is cut into blocks, tiles and shared memory; plain arithmetic, no device.

plan_soft_forward((8, 8, 512, 512), ((0, 1),), 4, Tuning())  # Shape(grid=(512, 1, 8), ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.offsets import Offset

WARP = 32
RUN = 16  # labels that one thread of hard.cu takes at a time
_LONGEST_GRID = 65535  # of y and z


@dataclass(frozen=True)
class Tuning:
    """What the plans aim for; the emulation tests every kernel under several of these."""

    threads: int = 256
    """Threads of a block, a multiple of 32."""
    shared: int = 48 * 1024
    """Bytes of shared memory of a block of float32; float64 may take twice as much."""
    blocks: int = 1024
    """Blocks of one launch, about: enough to fill the device and few enough to reuse each."""
    tile: tuple[int, int] | None = None
    """Largest columns and rows of a tile; None chooses."""


@dataclass(frozen=True)
class Shape:
    """The size of one launch, and the numbers that the kernel is told."""

    grid: tuple[int, int, int]
    threads: int
    shared: int
    numbers: tuple[int, ...] = ()


def plan_hard(shape: Sequence[int], levels: int, offsets: int, tuning: Tuning) -> Shape:
    """``numbers``: rows, offsets per slice, copies."""
    batch, height, width = shape
    row = 4 * levels
    rows = max(1, min(levels, tuning.shared // row))
    together = max(1, min(offsets, tuning.shared // (row * rows))) if rows == levels else 1
    slice_bytes = row * rows * together
    copies = max(1, min(tuning.threads // WARP, 8, tuning.shared // slice_bytes))
    slices = _ceil(levels, rows) * _ceil(offsets, together)
    runs = height * _ceil(width, RUN)
    shares = _shares(_ceil(runs, tuning.threads), slices * batch, tuning)
    grid = _grid(shares, slices, batch)
    return Shape(grid, tuning.threads, slice_bytes * copies, (rows, together, copies))


def plan_soft_forward(
    shape: Sequence[int], offsets: Sequence[Offset], size: int, tuning: Tuning
) -> Shape:
    """``numbers``: tasks, then the tiling: shift, rows, top, bottom, left, right."""
    batch, classes, height, width = shape
    blocks = _ceil(classes, 8)
    side = _ceil(classes, blocks)
    warps = tuning.threads // WARP
    total = len(offsets) * blocks * blocks
    tasks = min(total, warps)
    planes = blocks * side
    columns, rows, margins = _tile(
        offsets, both=False, room=_room(size, tuning) // (planes * size), tuning=tuning
    )
    held = (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3])
    shared = size * max(planes * held, warps * side * side)
    tiles = _ceil(height, rows) * _ceil(width, columns)
    groups = _ceil(total, tasks)
    grid = _grid(_shares(tiles, groups * batch, tuning), groups, batch)
    return Shape(grid, tuning.threads, shared, (tasks, columns.bit_length() - 1, rows, *margins))


def plan_soft_tensor(shape: Sequence[int], offsets: Sequence[Offset], tuning: Tuning) -> Shape:
    """``numbers``: as those of ``plan_soft_forward``.

    Beyond 32 classes a block takes twice the shared memory; every device with TF32 has it.
    """
    batch, classes, height, width = shape
    blocks = _ceil(classes, 32)
    side = _ceil(classes, blocks)
    cells = 16 * _ceil(side, 16) * 8 * _ceil(side, 8)
    warps = tuning.threads // WARP
    total = len(offsets) * blocks * blocks
    tasks = min(total, warps)
    columns, rows, margins = _tile(
        offsets,
        both=False,
        # Between two planes up to seven numbers stay unused.
        room=tuning.shared * min(blocks, 2) // (4 * classes) - 7,
        tuning=tuning,
    )
    held = (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3])
    stride = (held + 3) // 8 * 8 + 4
    shared = 4 * max(classes * stride, warps * cells)
    tiles = _ceil(height, rows) * _ceil(width, columns)
    groups = _ceil(total, tasks)
    grid = _grid(_shares(tiles, groups * batch, tuning), groups, batch)
    return Shape(grid, tuning.threads, shared, (tasks, columns.bit_length() - 1, rows, *margins))


def plan_soft_backward(
    shape: Sequence[int], offsets: Sequence[Offset], size: int, tuning: Tuning
) -> Shape:
    """``numbers``: batch of arms, then the tiling: shift, rows, top, bottom, left, right."""
    batch, classes, height, width = shape
    matrix = size * classes * (classes | 1)
    arms = 2 * len(offsets)
    room = _room(size, tuning)
    together = max(1, min(arms, room // 2 // matrix))
    columns, rows, margins = _tile(
        offsets,
        both=True,
        room=(room - together * matrix) // (classes * size),
        tuning=tuning,
        pixels=tuning.threads,
    )
    held = (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3])
    tiles = _ceil(height, rows) * _ceil(width, columns)
    return Shape(
        _grid(_shares(tiles, batch, tuning), batch, 1),
        rows * columns,
        together * matrix + size * classes * held,
        (together, columns.bit_length() - 1, rows, *margins),
    )


def plan_straight_backward(shape: Sequence[int], offsets: int, size: int, tuning: Tuning) -> Shape:
    """``numbers``: batch of arms."""
    batch, classes, height, width = shape
    matrix = size * classes * (classes | 1)
    together = max(1, min(2 * offsets, _room(size, tuning) // matrix))
    return Shape(
        _grid(_shares(_ceil(height * width, tuning.threads), batch, tuning), batch, 1),
        tuning.threads,
        together * matrix,
        (together,),
    )


def plan_pixels(shape: Sequence[int], tuning: Tuning) -> Shape:
    """One thread a pixel, in turns."""
    batch, _, height, width = shape
    shares = _shares(_ceil(height * width, tuning.threads), batch, tuning)
    return Shape(_grid(shares, batch, 1), tuning.threads, 0)


def plan_sum(batch: int, cells: int, tuning: Tuning) -> Shape:
    """One thread a cell."""
    return Shape(_grid(_ceil(cells, tuning.threads), batch, 1), tuning.threads, 0)


def plan_entropy(batch: int, offsets: int, size: int, tuning: Tuning) -> Shape:
    """One block a matrix."""
    return Shape(_grid(offsets, batch, 1), tuning.threads, size * tuning.threads // WARP)


def _tile(
    offsets: Sequence[Offset],
    *,
    both: bool,
    room: int,
    tuning: Tuning,
    pixels: int = 256,
) -> tuple[int, int, tuple[int, int, int, int]]:
    """The largest tile, and the margins for as many offsets as have room beside it.

    Offsets that do not fit are read from global memory by the kernel: slower, never wrong.
    """
    most_columns, most_rows = tuning.tile or (WARP, 256)
    reach = 32
    while True:
        margins = _margins(offsets, both, reach)
        count = pixels
        while count >= WARP:
            columns = min(WARP, most_columns)
            while columns > 1 and columns * (count // columns) > pixels:
                columns //= 2
            rows = min(count // columns, most_rows) if pixels == 256 else count // columns
            if (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3]) <= room:
                # A margin several times the tile would be read for nothing.
                if count >= min(pixels, 128) or reach <= 1:
                    return columns, rows, margins
                break
            count //= 2
        if reach == 0:
            raise ArgumentError(
                f"{tuning.shared} bytes of shared memory do not hold a tile of {WARP} pixels",
                remedy="report this with the number of classes and offsets",
            )
        reach //= 2


def _margins(offsets: Sequence[Offset], both: bool, reach: int) -> tuple[int, int, int, int]:
    near = [o for o in offsets if max(abs(o[0]), abs(o[1])) <= reach]
    near += [(-dy, -dx) for dy, dx in near] if both else []
    return (
        max((-dy for dy, _ in near if dy < 0), default=0),
        max((dy for dy, _ in near if dy > 0), default=0),
        max((-dx for _, dx in near if dx < 0), default=0),
        max((dx for _, dx in near if dx > 0), default=0),
    )


def _room(size: int, tuning: Tuning) -> int:
    return tuning.shared * (2 if size == 8 else 1)


def _shares(most: int, others: int, tuning: Tuning) -> int:
    return max(1, min(most, _ceil(tuning.blocks, others)))


def _grid(x: int, y: int, z: int) -> tuple[int, int, int]:
    if max(y, z) > _LONGEST_GRID:
        raise ArgumentError(
            f"a launch would be {y} by {z} blocks, expected at most {_LONGEST_GRID} each: "
            "there are too many images or offsets",
            remedy="split the batch, or use backend='torch'",
        )
    return x, y, z


def _ceil(value: int, by: int) -> int:
    return -(-value // by)
