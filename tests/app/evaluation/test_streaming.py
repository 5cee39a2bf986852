"""`trocar evaluate --streaming`: what a viewer sees late is scored as such."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trocar.contract.errors import ConfigError
from trocar.evaluation.frames import LabelledFrame
from trocar.evaluation.streaming import streaming_scores

SIZE = (64, 80)


@pytest.fixture(scope="module")
def moving(tiny: ModuleType, bundle: Path) -> list[LabelledFrame]:
    """Twelve frames of a scene that moves, and the model's own answers as truth."""
    from trocar.runtime import Session

    with Session.open(bundle) as session:
        images = [tiny.tiny_frame(*SIZE, shift=4 * i) for i in range(12)]
        return [
            LabelledFrame(name=str(i), group="", image=image, mask=session.run(image).labels.copy())
            for i, image in enumerate(images)
        ]


def scores(bundle: Path, frames: list[LabelledFrame], latency_ms: float, **more: Any) -> Any:
    return streaming_scores(
        bundle,
        frames,
        fps=25.0,
        latency_ms=latency_ms,
        smooth=False,
        **more,
    )


def test_a_model_without_delay_is_scored_for_its_answers(bundle, moving) -> None:
    found = scores(bundle, moving, 0.0)
    assert found["iou_mean"] == 1.0
    assert (found["frames"], found["analysed"], found["without_mask"]) == (12, 12, 0)
    assert found["flicker"] == 0.0
    assert found["age_ms_p99"] == 0.0


def test_a_slow_model_is_scored_for_what_it_shows_too_late(bundle, moving) -> None:
    quick, slow = scores(bundle, moving, 30.0), scores(bundle, moving, 150.0)
    assert slow["iou_mean"] < quick["iou_mean"] < 1.0
    assert slow["analysed"] < quick["analysed"]
    assert slow["without_mask"] > quick["without_mask"] >= 1
    assert slow["age_ms_p50"] > 150.0
    hidden = scores(bundle, moving, 150.0, max_age_ms=100.0)
    assert hidden["without_mask"] == 12
    assert hidden["iou_binary"] == 0.0


def test_flicker_counts_changes_that_the_truth_does_not_make(bundle, moving) -> None:
    # The truth stands still: every change on display is flicker.
    frozen = [
        LabelledFrame(name=f.name, group="", image=f.image, mask=moving[0].mask) for f in moving
    ]
    labels = np.stack([f.mask for f in moving])
    expected = float((labels[1:] != labels[:-1]).mean())
    assert expected > 0.005
    assert scores(bundle, frozen, 0.0)["flicker"] == pytest.approx(expected)


def test_only_bundles_can_be_scored_as_streams(moving, tmp_path) -> None:
    with pytest.raises(ConfigError, match="is no bundle"):
        scores(tmp_path, moving, 0.0)


def test_the_command_prints_and_keeps_the_scores(
    run, bundle, moving, tmp_path, tiny, capsys
) -> None:
    import cv2

    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for frame in moving:
        file = f"{int(frame.name):02d}.png"
        cv2.imwrite(str(tmp_path / "data" / "images" / file), frame.image[..., ::-1])
        cv2.imwrite(str(tmp_path / "data" / "masks" / file), frame.mask)
    tiny.tiny_table().write(tmp_path / "data" / "classes.toml")
    out = tmp_path / "evaluation"
    assert run("evaluate", bundle, tmp_path / "data", "--streaming", "25", "--out", out) == 0
    assert "as a live viewer sees it, 25 frames/s, 12 frames" in capsys.readouterr().out
    kept = json.loads((out / "evaluation.json").read_text())["streaming"]
    assert kept["fps"] == 25.0
    assert kept["frames"] == 12
