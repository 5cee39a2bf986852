"""Bytes of the masks of instruments over a video: run lengths in JSON lines against PNG files.

    python benchmarks/mask_sizes.py --out benchmarks/results/mask_sizes.json

Phantom scenes are the video: what they show as instances is what a model would have returned at
network size. Everything that is compared holds the same masks: each form is decoded, enlarged to
the frame where it is smaller, and must be equal to the mask at frame size, bit for bit. Sizes of
JSON are those of the whole file with masks less those of the same file without them; a gzip file
is compressed as a whole. PNG files are written as OpenCV writes them by default, with one mask a
file (as COCO and others exchange them), or one map of instances a frame.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.instances.masks import Mask, MaskForm
from trocar.contract.instances.run_lengths import compressed_from_mask, mask_from_compressed
from trocar.contract.media.label_maps import enlarge
from trocar.contract.results import FrameResult
from trocar.runtime.locate.instruments import locate_instances
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.tracking import Tracker

TABLE = ClassTable.from_names(["background", "instrument"])
SIZES = (((512, 640), (128, 160)), ((1080, 1920), (270, 480)), ((1080, 1920), (512, 640)))
"""Height and width of the frame, and of the network's map."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=50, help="frames of each video")
    parser.add_argument("--seeds", type=int, default=2, help="videos of each size")
    parser.add_argument("--out", type=Path, help="JSON file with the table")
    given = parser.parse_args()
    rows = []
    for frame_size, map_size in SIZES:
        videos = [
            results_of(seed, given.frames, frame_size=frame_size, map_size=map_size)
            for seed in range(given.seeds)
        ]
        row = measured(videos)
        rows.append({"frame": list(frame_size), "map": list(map_size), **row})
        print(json.dumps(rows[-1], indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def results_of(
    seed: int, count: int, *, frame_size: tuple[int, int], map_size: tuple[int, int]
) -> list[FrameResult]:
    """Tracked results of a phantom scene whose instances are found at network size."""
    from trocar.train.data.phantom.config import PhantomConfig
    from trocar.train.data.phantom.scene import phantom_frames

    # Rendered at the size of the map: the scene is the same, and its edges are those of a network.
    config = PhantomConfig(
        frames=count, clip_length=count, size=map_size, seed=seed, instruments=(3, 3)
    )
    tracker, results = Tracker(), []
    for index, shown in enumerate(phantom_frames(config)):
        most = int(shown.instances.max())
        found = locate_instances(
            shown.instances, [1] * most, [0.9] * most, TABLE, frame_size
        )  # fmt: skip
        result = FrameResult(
            frame_id=index, time=index / 25, captured_ns=0, age_ms=12.345, frame_size=frame_size,
            labels=(shown.instances > 0).astype(np.uint8), instances=shown.instances,
            instruments=found, instance_count=most, backend="onnxruntime", device="cpu",
            precision="fp32", stages_ms={"infer": 10.123, "locate": 1.234, "track": 0.345},
        )  # fmt: skip
        image = np.zeros((*frame_size, 3), np.uint8)
        results.append(
            tracker.apply(Frame(image=image, index=index, time=index / 25, captured_ns=0), result)
        )
    return results


def measured(videos: Sequence[Sequence[FrameResult]]) -> dict[str, Any]:
    """Bytes a mask of each form, and shares of one PNG of the frame's size for each mask."""
    totals: dict[str, int] = {}
    masks = 0
    for results in videos:
        masks += sum(len(result.instruments) for result in results)
        for name, size in sizes_of(results).items():
            totals[name] = totals.get(name, 0) + size
    baseline = totals["PNG for each mask, frame size"]
    return {
        "masks": masks,
        "bytes_per_mask": {name: round(size / masks, 1) for name, size in totals.items()},
        "percent": {name: round(100 * size / baseline, 2) for name, size in totals.items()},
    }


def sizes_of(results: Sequence[FrameResult]) -> dict[str, int]:
    """Bytes of all masks of a video in each form."""
    every = [one for result in results for one in result.instruments]
    masks = [one.mask for one in every if one.mask is not None]
    assert len(masks) == len(every)
    plain, plain_gz = lines_of(results, None)
    sizes = {
        "PNG for each mask, frame size": sum(png(mask.at_frame_size()) for mask in masks),
        "PNG for each mask, map size": sum(png(mask.full()) for mask in masks),
        "PNG for each frame, frame size": sum(
            png(enlarge(painted(result), result.frame_size)) for result in results
        ),
        "JSON lines without masks": plain,
        "JSON lines without masks, gzip": plain_gz,
    }
    forms: tuple[tuple[str, MaskForm], ...] = (("run lengths", "rle"), ("polygons", "polygons"))
    for name, form in forms:
        size, packed = lines_of(results, form)
        sizes[f"JSON {name}, map size"] = size - plain
        sizes[f"JSON {name}, map size, gzip"] = packed - plain_gz
    large, large_gz = lines_of([at_frame_size(result) for result in results], "rle")
    sizes["JSON run lengths, frame size"] = large - plain
    sizes["JSON run lengths, frame size, gzip"] = large_gz - plain_gz
    changes, changes_gz = changes_of(results)
    sizes["run lengths of what changed, map size"] = changes
    sizes["run lengths of what changed, map size, gzip"] = changes_gz
    for mask in masks:
        check(mask)
    return sizes


def lines_of(results: Sequence[FrameResult], form: MaskForm | None) -> tuple[int, int]:
    """Bytes of the JSON lines, and of them as a gzip file."""
    lines = "".join(
        json.dumps(result.to_dict(masks=form), separators=(",", ":")) + "\n" for result in results
    ).encode()
    return len(lines), len(gzip.compress(lines, mtime=0))


def at_frame_size(result: FrameResult) -> FrameResult:
    """The result with masks that are as large as the frame."""
    found = []
    for one in result.instruments:
        assert one.mask is not None
        size = result.frame_size
        found.append(replace(one, mask=Mask(one.mask.at_frame_size(), 0, 0, size, size)))
    return replace(result, instruments=tuple(found))


def changes_of(results: Sequence[FrameResult]) -> tuple[int, int]:
    """Bytes of the run lengths of the pixels that changed since the track's last mask."""
    last: dict[int | None, NDArray[np.bool_]] = {}
    texts, shown = [], dict(last)
    for result in results:
        for one in result.instruments:
            assert one.mask is not None
            whole = one.mask.full()
            before = last.get(one.track_id) if one.track_id is not None else None
            change = whole if before is None else whole ^ before
            text = compressed_from_mask(change)
            member = {"mask": {"size": list(whole.shape), "counts": text}}
            texts.append(json.dumps(member, separators=(",", ":"))[1:-1])
            decoded = mask_from_compressed(text, (whole.shape[0], whole.shape[1]))
            known = shown.get(one.track_id) if before is not None else None
            again = decoded if known is None else known ^ decoded
            assert np.array_equal(again, whole)
            last[one.track_id], shown[one.track_id] = whole, again
    data = "\n".join(texts).encode()
    return len(data), len(gzip.compress(data, mtime=0))


def check(mask: Mask) -> None:
    """Run lengths at network size give the mask at frame size, bit for bit."""
    runs = mask.run_lengths()
    decoded = mask_from_compressed(runs["counts"], tuple(runs["size"]))
    large = enlarge(decoded.view(np.uint8), mask.frame_size)
    assert np.array_equal(large, mask.at_frame_size())


def painted(result: FrameResult) -> NDArray[np.uint8]:
    """The map of all instruments of a result."""
    places = np.zeros(result.instruments[0].mask.map_size, np.uint8)  # type: ignore[union-attr]
    for number, one in enumerate(result.instruments, 1):
        assert one.mask is not None
        one.mask.paint(places, number)
    return places


def png(pixels: NDArray[Any]) -> int:
    """Bytes of a PNG file of a mask (0 and 255) or of a map."""
    image = 255 * pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
    done, data = cv2.imencode(".png", image)
    assert done
    return len(data)


if __name__ == "__main__":
    main()
