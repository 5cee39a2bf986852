"""Toy scenes and tiny settings for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trocar.contract.config import fields_of, from_mapping
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.open import open_data
from trocar.train.methods import find_method
from trocar.train.methods.protocol import accepted_data
from trocar.train.state.settings import RunConfig

TINY: dict[str, Any] = {
    "size": (64, 80),
    "encoder": "tu-lcnet_050",
    "decoder_channels": 16,
}
TINY_RUN: dict[str, Any] = {
    "steps": 6,
    "batch_size": 4,
    "warmup": 1,
    "workers": 0,
    "device": "cpu",
    "lr": 3e-3,
    "evaluate_every": 3,
    "log_every": 1,
}


def paint(path: Path, *, count: int, seed: int, tissue: tuple[int, int, int], labels: bool) -> None:
    """Frames of bars on noisy tissue, in the layout of image and mask folders, with instances."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks", "instances") if labels else ("images",):
        (path / folder).mkdir(parents=True)
    for index in range(count):
        image = np.full((72, 90, 3), tissue, np.uint8)
        mask = np.zeros((72, 90), np.uint8)
        for class_id, colour in ((1, (205, 205, 210)), (2, (90, 190, 90))):
            start = rng.integers(15, 70, 2)
            end = start + rng.integers(-45, 45, 2)
            cv2.line(image, start.tolist(), end.tolist(), colour, 12)
            cv2.line(mask, start.tolist(), end.tolist(), class_id, 12)
        image = np.clip(image + rng.normal(0, 9, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(path / "images" / f"f{index:02}.png"), image)
        if labels:
            for folder in ("masks", "instances"):  # one bar of each class
                cv2.imwrite(str(path / folder / f"f{index:02}.png"), mask)
    if labels:
        rows = ("background", "grasper", "scissors")
        text = "".join(
            f'[[classes]]\nid = {i}\nname = "{n}"\ninstrument = {str(i > 0).lower()}\n'
            for i, n in enumerate(rows)
        )
        (path / "classes.toml").write_text(text)
        (path / "splits").mkdir()
        names = [f"f{index:02}" for index in range(count)]
        (path / "splits" / "train.txt").write_text("\n".join(names[:-4]) + "\n")
        (path / "splits" / "val.txt").write_text("\n".join(names[-4:]) + "\n")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> DatasetPaths:
    """Labelled, unlabelled and target folders; the target's tissue has another colour."""
    root = tmp_path_factory.mktemp("toy")
    paint(root / "labelled", count=12, seed=1, tissue=(60, 50, 150), labels=True)
    paint(root / "unlabelled", count=8, seed=2, tissue=(60, 50, 150), labels=False)
    paint(root / "target", count=8, seed=3, tissue=(120, 140, 190), labels=False)
    return DatasetPaths(
        data=root / "labelled", unlabelled=root / "unlabelled", target=root / "target"
    )


@pytest.fixture(scope="session")
def make_method() -> Callable[..., Any]:
    """Makes a method by name with tiny settings and given ones."""

    def make(name: str, **given: Any) -> Any:
        kind = find_method(name)
        known = {spec.name for spec in fields_of(kind.Config)}
        values = {n: v for n, v in TINY.items() if n in known} | given
        return kind(from_mapping(kind.Config, values, source="test"))

    return make


@pytest.fixture(scope="session")
def open_toy(toy: DatasetPaths) -> Callable[..., Any]:
    """Opens the toy sets that a method takes."""

    def opened(method: Any, run: RunConfig, **config: Any) -> Any:
        paths = replace(
            toy,
            unlabelled=toy.unlabelled if "unlabelled" in accepted_data(method) else None,
            target=toy.target if "target" in accepted_data(method) else None,
        )
        return open_data(paths, DataConfig(**config), run, method)

    return opened


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunConfig]:
    """Tiny settings of the loop and given ones."""

    def make(**given: Any) -> RunConfig:
        return from_mapping(RunConfig, TINY_RUN | given, source="test")

    return make
