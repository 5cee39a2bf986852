"""Converts a set of any layout to an image-and-mask folder: resumable, in parallel.

    import_frames(open_frames("cholec80/"), Path("frames"), workers=2)

Each frame is written atomically to the folder ``.<name>.partial`` beside the output. The folder is
renamed after the last frame. A call that finds a partial folder of the same import continues it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import tomli_w

from trocar.contract.bundle import check_output, write_atomic
from trocar.contract.errors import DataError, SinkError
from trocar.contract.media.pictures import write_picture
from trocar.contract.text.outside_json import load_json
from trocar.train.data.sample import FrameSet, Item

FORMATS = ("png", "jpg")
_STATE = "import.json"


def import_frames(
    frames: FrameSet,
    out: Path,
    *,
    image_format: str = "png",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes ``images``, ``masks``, ``classes.toml``, ``splits`` and ``dataset.toml``.

    Also ``instances``, if the set has instance numbers; they count from 1 in each frame.

    The group of a frame becomes its folder. For sets without masks that list the classes of a
    frame, ``presence.tsv`` is written.

    Args:
        frames: The set to convert.
        out: Folder to make.
        image_format: ``png``, or ``jpg`` (quality 95, smaller and lossy).
        workers: Threads that decode and encode.
        progress: Called with the number of frames done, earlier calls included, and the total.

    Returns:
        Number of frames written by an earlier, interrupted call.

    Raises:
        OutputExistsError: ``out`` exists.
        DataError: A frame cannot be read, or the partial folder is of another import.
        SinkError: The disk is full or not writable; the next call continues.
    """
    check_output(out)
    partial = out.parent / f".{out.name}.partial"
    names = {item.name: target_name(item) for item in frames.items}
    try:
        _claim(partial, _state(frames, image_format))
        todo = [item for item in frames.items if not _done(partial, item, image_format)]
        earlier = len(frames) - len(todo)
        _write_all(frames, todo, partial, image_format, workers, earlier, progress)
        _finish(frames, names, partial)
        os.replace(partial, out)
    except OSError as error:
        raise SinkError(
            f"cannot write {out}: {error}", remedy="free space, then run the same command again"
        ) from error
    return earlier


def target_name(item: Item) -> str:
    """A frame's name in the converted set: the folder of its group, then its name."""
    flat = item.name.replace("/", "__")
    group = item.group.replace("/", "__")
    return f"{group}/{flat}" if group else flat


def _write_all(
    frames: FrameSet,
    todo: Sequence[Item],
    partial: Path,
    image_format: str,
    workers: int,
    earlier: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    lock, stop, done = Lock(), Event(), [earlier]

    def write(run: Sequence[Item]) -> None:
        for item in run:
            if stop.is_set():
                return
            try:
                _write_one(frames, item, partial, image_format)
            except BaseException:
                stop.set()
                raise
            with lock:
                done[0] += 1
                if progress:
                    progress(done[0], len(frames))

    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        futures: list[Future[None]] = [pool.submit(write, run) for run in _runs(todo)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()  # after an error or Ctrl-C, the other threads end after their current frame
            for future in futures:
                future.cancel()
    for future in futures:
        if not future.cancelled():
            future.result()


def _runs(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Runs of frames of one video, since decoding in order is fast."""
    run: list[Item] = []
    for item in items:
        if run and (item.image != run[-1].image or len(run) >= 2000):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _write_one(frames: FrameSet, item: Item, partial: Path, image_format: str) -> None:
    sample = frames.read(item)
    if sample.mask is not None:
        write_picture(partial / "masks" / f"{target_name(item)}.png", sample.mask)
        _write_instances(frames, item, sample.mask.shape, partial)
    # The image is written last: if it exists, the frame is complete.
    write_picture(_picture(partial, item, image_format), sample.image)


def _write_instances(frames: FrameSet, item: Item, size: tuple[int, int], partial: Path) -> None:
    found = frames.instance_map(item, size)
    if found is None:
        return
    present = np.flatnonzero(np.bincount(found.ravel()))
    present = present[present > 0]
    if len(present) > 255:
        raise DataError(
            f"{item.name} of {frames.root} has {len(present)} instances, expected at most 255",
            remedy="correct its instance map",
        )
    numbers = np.zeros(int(found.max()) + 1, np.uint8)
    numbers[present] = np.arange(1, len(present) + 1)
    write_picture(partial / "instances" / f"{target_name(item)}.png", numbers[found])


def _picture(partial: Path, item: Item, image_format: str) -> Path:
    return partial / "images" / f"{target_name(item)}.{image_format}"


def _done(partial: Path, item: Item, image_format: str) -> bool:
    return _picture(partial, item, image_format).is_file()


def _state(frames: FrameSet, image_format: str) -> dict[str, Any]:
    return {
        "set": frames.name,
        "root": str(frames.root.resolve()),
        "task": frames.task,
        "format": image_format,
        "frames": len(frames),
        "classes": frames.table.to_dicts(),
    }


def _claim(partial: Path, state: dict[str, Any]) -> None:
    file = partial / _STATE
    if file.is_file():
        if load_json(file.read_text(encoding="utf-8")) != load_json(json.dumps(state)):
            raise DataError(
                f"{partial} is the partial result of another import",
                remedy="finish the other import first, or remove the folder",
            )
        return
    write_atomic(file, json.dumps(state, indent=1).encode())


def _finish(frames: FrameSet, names: dict[str, str], partial: Path) -> None:
    frames.table.write(partial / "classes.toml")
    for split, listed in frames.splits.items():
        text = "".join(f"{names[name]}\n" for name in listed)
        write_atomic(partial / "splits" / f"{split}.txt", text.encode())
    presence = [item for item in frames.items if "presence" in item.extra]
    if presence:
        rows = ["\t".join(("name", *frames.table.names))]
        rows += ["\t".join((names[i.name], *map(str, i.extra["presence"]))) for i in presence]
        write_atomic(partial / "presence.tsv", ("\n".join(rows) + "\n").encode())
    settings = {"name": frames.name, "imported_from": str(frames.root.name), "task": frames.task}
    write_atomic(partial / "dataset.toml", tomli_w.dumps(settings).encode())
    (partial / _STATE).unlink()
