"""Sizes of launches: blocks, tiles and shared memory, without a device.

plan_soft_forward((8, 8, 512, 512), ((0, 1),), 4, Tuning())  # LaunchShape(grid=(128, 1, 8), ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trocar.contract.errors import ArgumentError
from trocar.cuda_kernels.offsets import Offset

WARP = 32
RUN = 16
"""Labels that a thread of ``hard.cu`` loads at once."""
_MAX_GRID_YZ = 65535


@dataclass(frozen=True)
class Tuning:
    """Targets of the plans; the tests run every kernel under several of them."""

    threads: int = 256
    """Threads of a block: a multiple of 32, at most 256."""
    shared: int = 48 * 1024
    """Bytes of shared memory of a block for float32; float64 may use twice as much."""
    blocks: int = 1024
    """Approximate number of blocks of a launch: enough to fill the device, not more."""
    tile: tuple[int, int] | None = None
    """Maximum columns and rows of a tile; None: 32 columns, and as many rows as fit."""


@dataclass(frozen=True)
class LaunchShape:
    """Size of one launch, and the numbers that are passed to the kernel."""

    grid: tuple[int, int, int]
    threads: int
    """Threads of a block."""
    shared: int
    """Bytes of shared memory of a block."""
    numbers: tuple[int, ...] = ()


def plan_hard(shape: Sequence[int], levels: int, offsets: int, tuning: Tuning) -> LaunchShape:
    """``numbers``: rows, offsets per slice, copies."""
    batch, height, width = shape
    row = 4 * levels
    rows = max(1, min(levels, tuning.shared // row))
    fitting = max(1, min(offsets, tuning.shared // (row * rows))) if rows == levels else 1
    slice_bytes = row * rows * fitting
    copies = max(1, min(tuning.threads // WARP, 8, tuning.shared // slice_bytes))
    slices = _ceil(levels, rows) * _ceil(offsets, fitting)
    runs = height * _ceil(width, RUN)
    blocks = _blocks(_ceil(runs, tuning.threads), slices * batch, tuning)
    grid = _grid(blocks, slices, batch)
    return LaunchShape(grid, tuning.threads, slice_bytes * copies, (rows, fitting, copies))


def plan_soft_forward(
    shape: Sequence[int], offsets: Sequence[Offset], size: int, tuning: Tuning
) -> LaunchShape:
    """``numbers``: tasks, then the tiling: shift, rows, top, bottom, left, right."""
    batch, classes, height, width = shape
    blocks = _ceil(classes, 8)
    side = _ceil(classes, blocks)
    warps = tuning.threads // WARP
    total = len(offsets) * blocks * blocks
    tasks = min(total, warps)
    planes = blocks * side
    columns, rows, margins = _tile(
        offsets, both=False, capacity=_capacity(size, tuning) // (planes * size), tuning=tuning
    )
    tile_size = (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3])
    shared = size * max(planes * tile_size, warps * side * side)
    tiles = _ceil(height, rows) * _ceil(width, columns)
    groups = _ceil(total, tasks)
    grid = _grid(_blocks(tiles, groups * batch, tuning), groups, batch)
    return LaunchShape(
        grid, tuning.threads, shared, (tasks, columns.bit_length() - 1, rows, *margins)
    )


def plan_soft_tensor(
    shape: Sequence[int], offsets: Sequence[Offset], tuning: Tuning
) -> LaunchShape:
    """``numbers``: as those of ``plan_soft_forward``.

    For more than 32 classes a block uses twice the shared memory; every GPU with TF32 has it.
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
        # Up to seven numbers between two planes are unused.
        capacity=tuning.shared * min(blocks, 2) // (4 * classes) - 7,
        tuning=tuning,
    )
    tile_size = (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3])
    stride = (tile_size + 3) // 8 * 8 + 4
    shared = 4 * max(classes * stride, warps * cells)
    tiles = _ceil(height, rows) * _ceil(width, columns)
    groups = _ceil(total, tasks)
    grid = _grid(_blocks(tiles, groups * batch, tuning), groups, batch)
    return LaunchShape(
        grid, tuning.threads, shared, (tasks, columns.bit_length() - 1, rows, *margins)
    )


def plan_soft_backward(
    shape: Sequence[int], offsets: Sequence[Offset], size: int, tuning: Tuning
) -> LaunchShape:
    """``numbers``: batch of directions, then the tiling: shift, rows, top, bottom, left, right."""
    batch, classes, height, width = shape
    matrix = size * classes * (classes | 1)
    capacity = _capacity(size, tuning)
    directions = max(1, min(2 * len(offsets), capacity // 2 // matrix))
    columns, rows, margins = _tile(
        offsets,
        both=True,
        capacity=(capacity - directions * matrix) // (classes * size),
        tuning=tuning,
        pixels=tuning.threads,
    )
    tile_size = (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3])
    tiles = _ceil(height, rows) * _ceil(width, columns)
    return LaunchShape(
        _grid(_blocks(tiles, batch, tuning), batch, 1),
        rows * columns,
        directions * matrix + size * classes * tile_size,
        (directions, columns.bit_length() - 1, rows, *margins),
    )


def plan_straight_backward(
    shape: Sequence[int], offsets: int, size: int, tuning: Tuning
) -> LaunchShape:
    """``numbers``: batch of directions."""
    batch, classes, height, width = shape
    matrix = size * classes * (classes | 1)
    directions = max(1, min(2 * offsets, _capacity(size, tuning) // matrix))
    return LaunchShape(
        _grid(_blocks(_ceil(height * width, tuning.threads), batch, tuning), batch, 1),
        tuning.threads,
        directions * matrix,
        (directions,),
    )


def plan_pixels(shape: Sequence[int], tuning: Tuning) -> LaunchShape:
    """One thread per pixel; a thread continues with further pixels if there are fewer threads."""
    batch, _, height, width = shape
    blocks = _blocks(_ceil(height * width, tuning.threads), batch, tuning)
    return LaunchShape(_grid(blocks, batch, 1), tuning.threads, 0)


def plan_sum(batch: int, cells: int, tuning: Tuning) -> LaunchShape:
    """One thread per cell."""
    return LaunchShape(_grid(_ceil(cells, tuning.threads), batch, 1), tuning.threads, 0)


def plan_entropy(batch: int, offsets: int, size: int, tuning: Tuning) -> LaunchShape:
    """One block per matrix."""
    return LaunchShape(_grid(offsets, batch, 1), tuning.threads, size * tuning.threads // WARP)


def _tile(
    offsets: Sequence[Offset],
    *,
    both: bool,
    capacity: int,
    tuning: Tuning,
    pixels: int = 256,
) -> tuple[int, int, tuple[int, int, int, int]]:
    """Columns, rows and margins of the largest tile of which ``capacity`` numbers hold one plane.

    The margins cover as many offsets as fit. For the others the kernel reads global memory, which
    is slower.
    """
    max_columns, max_rows = tuning.tile or (WARP, 256)
    reach = 32
    while True:
        margins = _margins(offsets, both, reach)
        count = pixels
        while count >= WARP:
            columns = min(WARP, max_columns)
            while columns > 1 and columns * (count // columns) > pixels:
                columns //= 2
            rows = min(count // columns, max_rows) if pixels == 256 else count // columns
            if (rows + margins[0] + margins[1]) * (columns + margins[2] + margins[3]) <= capacity:
                # A smaller tile would have margins several times its own size.
                if count >= min(pixels, 128) or reach <= 1:
                    return columns, rows, margins
                break
            count //= 2
        if reach == 0:
            raise ArgumentError(
                f"{tuning.shared} bytes of shared memory are too few for a tile of {WARP} pixels",
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


def _capacity(size: int, tuning: Tuning) -> int:
    return tuning.shared * (2 if size == 8 else 1)


def _blocks(limit: int, others: int, tuning: Tuning) -> int:
    """Blocks along x, where y and z together have ``others`` blocks."""
    return max(1, min(limit, _ceil(tuning.blocks, others)))


def _grid(x: int, y: int, z: int) -> tuple[int, int, int]:
    if max(y, z) > _MAX_GRID_YZ:
        raise ArgumentError(
            f"a launch would be {y} by {z} blocks, expected at most {_MAX_GRID_YZ} each: "
            "there are too many images or offsets",
            remedy="split the batch, or use backend='torch'",
        )
    return x, y, z


def _ceil(value: int, by: int) -> int:
    return -(-value // by)
