"""Bundles of every task and precision with a second graph for NV12.

    bundle, frames = nv12_sources("instances")           # a fixture
    out = exported(bundle, frames, tmp_path / "out.trocar", "int8")

The fixture needs `small` of ``export_fixtures`` and those of ``photo_fixtures``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import run
from export_helpers import frames_of, manifest_of, run_onnx
from instance_bundles import instance_bundle
from instance_files import channel_file, crossing_frame
from numpy.typing import NDArray

from trocar.export.bundle import export_bundle

TASKS = ("segmentation", "instances", "few", "tail", "plain")


@pytest.fixture(scope="module")
def nv12_sources(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """Makes a float32 bundle of a task, one of `TASKS`, and frames that it answers differently."""
    folder = tmp_path_factory.mktemp("sources")
    made: dict[str, tuple[Path, list[NDArray[np.uint8]]]] = {}

    def source(task: str) -> tuple[Path, list[NDArray[np.uint8]]]:
        if task in made:
            return made[task]
        if task == "segmentation":
            bundle, frames = folder / "small.trocar", frames_of(4, 300, 400)
            export_bundle(
                request.getfixturevalue("small"), manifest_of(), bundle, frames=frames,
                open_model=run_onnx,
            )  # fmt: skip
        elif task == "instances":
            frames = [
                cv2.resize(crossing_frame(step), (480, 360), interpolation=cv2.INTER_NEAREST)
                for step in range(0, 12, 3)
            ]
            bundle = instance_bundle(
                folder / "instances.trocar", data=channel_file(), form="detections",
                max_instances=4,
            )  # fmt: skip
        else:
            bundle = request.getfixturevalue(f"{task}_bundle")
            kit = request.getfixturevalue("photo_kit")
            kinds = ("grasper", "scissors", "needle holder", "hook")
            frames = [kit.picture(kind, n) for kind in kinds for n in range(300, 303)]
        made[task] = bundle, frames
        return made[task]

    return source


def exported(source: Path, frames: list[NDArray[np.uint8]], out: Path, precision: str) -> Path:
    """The bundle of another precision with its second graph, through the command."""
    folder = out.with_suffix(".frames")
    folder.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    more = ("--calibrate", folder) if precision == "int8" else ()
    flags = ("--frames", folder, "--precision", precision, "--nv12", *more)
    assert run("export", source, "--out", out, *flags) == 0
    return out
