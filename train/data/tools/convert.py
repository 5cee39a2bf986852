"""Converts a set of any layout to an image-and-mask folder: resumable, in parallel.

    import_frames(open_frames("cholec80/"), Path("frames"), workers=2)

Each frame is written atomically to the folder ``.<name>.partial`` beside the output. The folder is
renamed after the last frame. A call that finds a partial folder of the same import continues it: a
frame is done if its picture, mask and annotation are as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import tomli_w

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, write_picture
from trocar.train.data.io.partial import PartialSet, content_digest, resumable_set
from trocar.train.data.sample import FrameSet, Item

FORMATS = ("png", "jpg")
_STABLE = (str, int, float, tuple)  # Values whose text is the same in every process.


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
    names = {item.name: target_name(item) for item in frames.items}
    with resumable_set(out, _state(frames, image_format)) as made:
        todo = [item for item in frames.items if not _done(made, item, image_format)]
        earlier = len(frames) - len(todo)
        _write_all(frames, todo, made, image_format, workers, earlier, progress)
        made.keep_only(set(names.values()))
        _finish(frames, names, made.folder)
    return earlier


def target_name(item: Item) -> str:
    """A frame's name in the converted set: the folder of its group, then its name."""
    flat = item.name.replace("/", "__")
    group = item.group.replace("/", "__")
    return f"{group}/{flat}" if group else flat


def _write_all(
    frames: FrameSet,
    todo: Sequence[Item],
    made: PartialSet,
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
                _write_one(frames, item, made.folder, image_format)
                made.mark(target_name(item), _digest(item))
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


def _done(made: PartialSet, item: Item, image_format: str) -> bool:
    picture = _picture(made.folder, item, image_format)
    return made.earlier > 0 and picture.is_file() and made.is_done(target_name(item), _digest(item))


def _digest(item: Item) -> str:
    """A digest of what a frame is made of; of a frame of a video, its number and the video's."""
    beside = [value for _, value in sorted(item.extra.items()) if isinstance(value, Path)]
    words = [f"{k}={v}" for k, v in sorted(item.extra.items()) if isinstance(v, _STABLE)]
    files = [item.image, *([item.mask] if item.mask else []), *beside]
    return content_digest([item.name, *words, *(_content(file) for file in files)])


def _content(file: Path) -> Path | str:
    """A picture or a text, to be read; or size and time of a video."""
    if file.suffix.lower() in (*IMAGE_SUFFIXES, ".json", ".xml", ".txt") or not file.is_file():
        return file
    return f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}"


def _state(frames: FrameSet, image_format: str) -> dict[str, Any]:
    return {
        "set": frames.name,
        "root": str(frames.root.resolve()),
        "task": frames.task,
        "format": image_format,
        "settings": content_digest([frames.root / "dataset.toml"]),
        "classes": frames.table.to_dicts(),
    }


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
