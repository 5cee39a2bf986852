"""An out-of-body model from two folders: trained, exported, and used, all with the commands.

Inside are phantoms. Outside are photographs: real ones of surgical instruments where they lie
beside the checkout, otherwise drawn ones.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import photo_sets
from places import SAMPLES

from trocar.cli import main
from trocar.runtime.privacy.body import open_body_classifier
from trocar.train.data.phantom.config import PhantomConfig
from trocar.train.data.phantom.scene import phantom_frames


def photographs(count: int) -> list[np.ndarray]:
    files = sorted((SAMPLES / "surgical_tools" / "train" / "images").glob("*.jpg"))
    if files:
        return [np.asarray(cv2.imread(str(f)))[..., ::-1] for f in files[:: len(files) // count]]
    kinds = list(photo_sets.KINDS)
    return [photo_sets.picture(kinds[i % len(kinds)], i) for i in range(count)]


def command(*words: object) -> None:
    code: object = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    assert not code, words


def test_two_folders_become_an_out_of_body_model(tmp_path: Path) -> None:
    config = PhantomConfig(frames=20, size=(64, 80), clip_length=2, seed=5)
    inside = [frame.image for frame in phantom_frames(config)]
    outside = photographs(20)[:20]
    photos = tmp_path / "photos"
    for name, pictures in (("inside", inside), ("outside", outside)):
        for number, picture in enumerate(pictures[:14]):
            photo_sets.write(photos / name / f"{number:03d}.png", cv2.resize(picture, (64, 64)))
    command(
        *("train", "classifier", photos, "--out", tmp_path / "run", "--device", "cpu"),
        *("--steps", 24, "--size", "32x32", "--backbone", "test_resnet", "--embedding-size", 16),
        *("--batch-size", 12, "--lr", 0.004, "--workers", 0, "--seed", 1, "--evaluate-every", 24),
    )
    command("export", tmp_path / "run", "--out", tmp_path / "body.trocar", "--max-frames", 4)
    with open_body_classifier(tmp_path / "body.trocar", certainty=0.9) as body:
        judged_inside = [body.judge(picture).outside for picture in inside[14:]]
        judged_outside = [body.judge(picture).outside for picture in outside[14:]]
    # None of the photographs that were held back passes for the inside of a body.
    assert all(judged_outside)
    assert judged_inside.count(False) >= len(judged_inside) // 2
