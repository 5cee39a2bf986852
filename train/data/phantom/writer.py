"""Writes phantom scenes as an image-and-mask folder, with splits by scene and a held-out video.

write_phantom(Path("phantom"), PhantomConfig(frames=100), video=True)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ConfigError, OutputExistsError, SinkError
from trocar.contract.media.pictures import encode_picture
from trocar.train.data.phantom.config import (
    PhantomConfig,
    PhantomFrame,
    parts_table,
    phantom_table,
)
from trocar.train.data.phantom.scene import VIDEO_CLIP, phantom_frames

MIN_SCENES = 7
"""Clips are shortened until there are so many, so that a split by scene is about 70/15/15."""

MASKS = ("types", "parts")
VIDEO_FPS = 25


def write_phantom(
    out: Path,
    config: PhantomConfig,
    *,
    video: bool = False,
    progress: Callable[[int], None] | None = None,
    masks: str = "types",
    val_test_fractions: tuple[float, float] = (0.15, 0.15),
    workers: int = 1,
) -> None:
    """Writes ``images``, ``masks``, ``parts``, ``instances``, ``tips.json``, classes and splits.

    A file name is the number of the scene and of the frame in it; the scene is the group in
    ``dataset.toml``. A video is one scene of ``config.frames`` frames that is in no split, 25
    frames/s in H.264, with its masks in ``video_masks/`` and instances in ``video_instances/``.

    Args:
        out: Folder to make; it is written completely or not at all.
        config: What to render; ``clip_length`` is an upper limit here, see `MIN_SCENES`.
        video: Whether to add the held-out video.
        progress: Called with the number of frames done; twice ``config.frames`` with a video.
        masks: What ``masks/`` and ``classes.toml`` distinguish: ``types`` or ``parts``.
        val_test_fractions: Fractions of the scenes for ``val`` and ``test``; the rest is for
            training.
        workers: Processes that render the set; the files are equal for any number.

    Raises:
        OutputExistsError: ``out`` exists.
        ConfigError: ``masks`` is unknown, the size of a video is odd, no scene is left for
            training, or there is no worker.
        SinkError: The disk is full or may not be written to.
    """
    out = Path(out)
    if masks not in MASKS:
        raise ConfigError(
            f"masks is {masks!r}, expected {' or '.join(MASKS)}", remedy="choose one of them"
        )
    if min(val_test_fractions) < 0 or sum(val_test_fractions) >= 1:
        raise ConfigError(
            f"the fractions for val and test are {val_test_fractions[0]:g} and "
            f"{val_test_fractions[1]:g}: nothing is left for training",
            remedy="give two fractions of 0 or more whose sum is below 1",
        )
    if workers < 1:
        raise ConfigError(f"workers is {workers}, expected 1 or more", remedy="pass 1 or more")
    if video and (config.size[0] % 2 or config.size[1] % 2):
        raise ConfigError(
            f"a video of {config.size[1]}x{config.size[0]} cannot be encoded in H.264",
            remedy="choose an even width and height, or leave --video out",
        )
    if out.exists() or out.is_symlink():
        raise OutputExistsError(f"{out} exists already", remedy="choose another folder or move it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise SinkError(
            f"cannot write to {out.parent}: {error}", remedy="choose a folder that you may write to"
        ) from error
    try:
        part.chmod(0o755)
        report = progress or (lambda done: None)
        _write_set(part, config, masks, val_test_fractions, workers, report)
        if video:
            _write_video(part, config, masks, report)
        os.replace(part, out)
    except OSError as error:
        raise SinkError(
            f"cannot write {out}: {error}", remedy="free some space, or choose another disk"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def splits_by_clip(
    clips: int, val_test_fractions: tuple[float, float] = (0.15, 0.15)
) -> dict[str, range]:
    """Scenes of each split; with fewer than three, training comes first, then test, then val."""
    val_fraction, test_fraction = val_test_fractions
    test = max(round(test_fraction * clips), int(test_fraction > 0)) if clips > 1 else 0
    val = max(round(val_fraction * clips), int(val_fraction > 0)) if clips > 2 else 0
    train = clips - val - test
    return {
        "train": range(train),
        "val": range(train, train + val),
        "test": range(train + val, clips),
    }


@dataclass(frozen=True)
class _SceneWriter:
    """Renders and writes single scenes of a set, in any process."""

    root: Path
    config: PhantomConfig
    masks: str
    clip_digits: int
    frame_digits: int

    def __call__(self, clip: int) -> tuple[int, dict[str, Any]]:
        """Writes the scene's frames: its number, and the tips by file name."""
        length = self.config.clip_length
        frames = min(length, self.config.frames - clip * length)
        tips: dict[str, Any] = {}
        scene = phantom_frames(replace(self.config, frames=frames), first_clip=clip)
        for index, frame in enumerate(scene):
            stem = f"{clip:0{self.clip_digits}d}{index:0{self.frame_digits}d}"
            _png(self.root / "images" / f"{stem}.png", frame.image)
            _png(self.root / "masks" / f"{stem}.png", getattr(frame, self.masks))
            _png(self.root / "parts" / f"{stem}.png", frame.parts)
            _png(self.root / "instances" / f"{stem}.png", frame.instances)
            tips[stem] = _tips(frame)
        return clip, tips


def _written_scenes(
    write_scene: _SceneWriter, clips: int, workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The scenes in the order in which they are completed."""
    if workers == 1:
        yield from map(write_scene, range(clips))
        return
    # Spawned, because threads of OpenCV and torch do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        try:
            for job in as_completed([pool.submit(write_scene, clip) for clip in range(clips)]):
                yield job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_set(
    root: Path,
    config: PhantomConfig,
    masks: str,
    val_test_fractions: tuple[float, float],
    workers: int,
    progress: Callable[[int], None],
) -> None:
    length = min(config.clip_length, max(config.frames // MIN_SCENES, 1))
    config = replace(config, clip_length=length)
    clips = -(-config.frames // length)
    digits = max(len(str(clips - 1)), 3), max(len(str(length - 1)), 3)
    for name in ("images", "masks", "parts", "instances", "splits"):
        (root / name).mkdir()
    write_scene = _SceneWriter(root, config, masks, *digits)
    tips: dict[int, dict[str, Any]] = {}
    done = 0
    for clip, found in _written_scenes(write_scene, clips, min(workers, clips)):
        tips[clip] = found
        for _ in found:
            done += 1
            progress(done)
    ordered = {stem: tips[clip][stem] for clip in range(clips) for stem in tips[clip]}
    (root / "tips.json").write_text(json.dumps(ordered, indent=1), encoding="utf-8")
    (phantom_table() if masks == "types" else parts_table()).write(root / "classes.toml")
    parts_table().write(root / "classes_parts.toml")
    for split, chosen in splits_by_clip(clips, val_test_fractions).items():
        if not chosen:
            continue
        lines = [f"{stem}\n" for clip in chosen for stem in tips[clip]]
        (root / "splits" / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    _write_facts(root / "dataset.toml", config, masks, f"^([0-9]{{{digits[0]}}})")


def _write_facts(path: Path, config: PhantomConfig, masks: str, group: str) -> None:
    import tomli_w

    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    facts: dict[str, Any] = {"name": "phantom", "group": group, "masks": masks}
    facts |= {"lasting_instances": True, "config": settings}
    path.write_text(tomli_w.dumps(facts), encoding="utf-8")


def _write_video(
    root: Path, config: PhantomConfig, masks: str, progress: Callable[[int], None]
) -> None:
    import av

    clip = replace(config, clip_length=config.frames, fps=float(VIDEO_FPS))
    for folder in ("video_masks", "video_instances"):
        (root / folder).mkdir()
    with av.open(str(root / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS)
        stream.height, stream.width = config.size
        stream.pix_fmt = "yuv420p"
        # With one thread, the file does not depend on the number of cores.
        stream.options = {"crf": "16", "preset": "veryfast", "threads": "1"}
        for index, frame in enumerate(phantom_frames(clip, first_clip=VIDEO_CLIP)):
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")):
                container.mux(packet)
            _png(root / "video_masks" / f"{index:06d}.png", getattr(frame, masks))
            _png(root / "video_instances" / f"{index:06d}.png", frame.instances)
            progress(config.frames + index + 1)
        for packet in stream.encode(None):
            container.mux(packet)


def _tips(frame: PhantomFrame) -> list[dict[str, Any]]:
    return [
        {
            "instance": tip.instance,
            "class": tip.class_id,
            "points": [list(point) for point in tip.points],
            "visible": tip.visible,
        }
        for tip in frame.tips
    ]


def _png(path: Path, image: NDArray[np.uint8]) -> None:
    path.write_bytes(encode_picture(image, ".png", compression=1))
