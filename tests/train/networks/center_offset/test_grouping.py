"""Grouping of pixels against plain loops, in the exported graph, and behind the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import run_onnx
from torch import Tensor, nn

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.bundle import export_bundle
from trocar.runtime.session import Session
from trocar.train.networks.center_offset.grouping import SPARE, group_pixels
from trocar.train.networks.center_offset.targets import center_targets

H, W = 32, 48


def crossing() -> tuple[Tensor, Tensor]:
    """Two bars of class 1 that cross, and one of class 2; labels and numbers ``[1,h,w]``."""
    numbers = torch.zeros(1, H, W, dtype=torch.long)
    numbers[0, 14:18, 2:30] = 1
    numbers[0, 4:30, 20:24] = 2
    numbers[0, 2:30, 40:45] = 3
    labels = torch.tensor([0, 1, 1, 2])[numbers]
    return labels, numbers


def maps_of(labels: Tensor, numbers: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """What a network makes that is right, but for noise."""
    target = center_targets(numbers, labels, instruments=(1, 2), most=8, sigma=2.0)
    torch.manual_seed(0)
    logits = 6.0 * torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    offsets = target.offsets + noise * torch.randn(target.offsets.shape)
    return logits + noise * torch.rand(logits.shape), target.heat, offsets


def by_loops(logits: Tensor, centers: Tensor, offsets: Tensor, most: int) -> list[np.ndarray]:
    """Masks by falling heat of their centre, written from the paper."""
    heat, way = centers[0].numpy(), offsets[0].numpy()
    labels = logits[0].argmax(0).numpy()
    found = []
    for y in range(H):
        for x in range(W):
            near = heat[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            if heat[y, x] >= 0.1 and heat[y, x] == near.max():
                found.append((-float(heat[y, x]), y, x))
    kept = sorted(found)[: most + SPARE]
    masks = [np.zeros((H, W), bool) for _ in kept]
    for y, x in zip(*np.nonzero(labels), strict=True):
        to = y + way[0, y, x], x + way[1, y, x]
        distances = [(to[0] - cy) ** 2 + (to[1] - cx) ** 2 for _, cy, cx in kept]
        masks[int(np.argmin(distances))][y, x] = True
    return masks


def test_pixels_are_grouped_as_in_plain_loops() -> None:
    labels, numbers = crossing()
    maps = maps_of(labels, numbers, noise=2.0)
    heat = maps[1] + 0.02 * torch.rand(1, H, W)  # no two places are equally high
    found = group_pixels(maps[0], heat, maps[2], max_instances=8)
    expected = by_loops(maps[0], heat, maps[2], 8)
    assert found["masks"].shape == (1, 8 + SPARE, H, W)
    for place, mask in enumerate(expected):
        assert np.array_equal(found["masks"][0, place].numpy() > 0, mask)
    assert not found["masks"][0, len(expected) :].any()
    assert not found["scores"][0, len(expected) :].any()


def test_two_crossing_bars_of_one_class_are_two_instances() -> None:
    labels, numbers = crossing()
    found = group_pixels(*maps_of(labels, numbers), max_instances=4)
    assert (found["scores"] > 0.5).sum() == 3
    for number in (1, 2, 3):
        same = [(mask > 0).equal(numbers[0] == number) for mask in found["masks"][0]]
        place = same.index(True)
        assert found["classes"][0, place] == (1 if number == 3 else 0)
        # The heat at the centre's pixel, which is at most half a pixel away, times certainty.
        assert 0.85 < float(found["scores"][0, place]) <= 1


def test_a_wide_reach_takes_one_centre_where_a_narrow_one_takes_many() -> None:
    labels, numbers = (
        one.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2) for one in crossing()
    )
    target = center_targets(numbers, labels, instruments=(1, 2), most=8, sigma=8.0)
    torch.manual_seed(0)
    heat = target.heat + 0.3 * torch.rand(target.heat.shape)  # as after a short training
    logits = 6.0 * torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    offsets = target.offsets + 4.0 * torch.randn(target.offsets.shape)
    narrow = group_pixels(logits, heat, offsets, max_instances=8)
    assert (narrow["scores"] > 0).sum() > 5
    # 24 pixels: centres are looked for in cells of 2 pixels.
    wide = group_pixels(logits, heat, offsets, max_instances=8, radius=24)
    assert (wide["scores"] > 0.5).sum() == 3
    for number in (1, 2, 3):
        true = numbers[0] == number
        shared = [
            ((mask > 0) & true).sum() / ((mask > 0) | true).sum() for mask in wide["masks"][0]
        ]
        assert max(shared) > 0.95


def test_the_class_is_that_of_most_pixels_and_the_score_that_of_the_class() -> None:
    labels, numbers = crossing()
    labels[0, 2:10, 40:45] = 1  # 8 of 28 rows of the third bar
    logits, heat, offsets = maps_of(labels, numbers)
    found = group_pixels(logits, heat * 0.7, offsets, max_instances=4)
    place = [(mask > 0).equal(numbers[0] == 3) for mask in found["masks"][0]].index(True)
    assert found["classes"][0, place] == 1
    share = float(logits[0, 2][numbers[0] == 3].mul(0).mean())  # 0, for the type
    shares = logits.softmax(1)[0, 2][numbers[0] == 3].mean()
    peak = (heat[0] * 0.7)[2:30, 40:45].max()
    assert float(found["scores"][0, place]) == pytest.approx(float(shares * peak) + share, rel=1e-5)


def test_without_a_centre_nothing_is_an_instance() -> None:
    labels, numbers = crossing()
    logits, heat, offsets = maps_of(labels, numbers)
    found = group_pixels(logits, heat * 0.09, offsets, max_instances=2)
    assert not found["scores"].any()
    assert not found["masks"].any()


def test_targets_follow_the_visible_pixels() -> None:
    labels, numbers = crossing()
    labels[0, :, 42:] = 255  # cut
    numbers[0, 20:24, 4:8] = 9  # more than are allowed
    labels[0, 20:24, 4:8] = 1
    target = center_targets(numbers, labels, instruments=(1, 2), most=8, sigma=2.0)
    third = (numbers[0] == 3) & (labels[0] == 2)
    rows, columns = np.nonzero(third.numpy())
    assert set(columns) == {40, 41}
    to = target.offsets[0][:, third].numpy() + np.stack([rows, columns])
    np.testing.assert_allclose(to, np.broadcast_to([[15.5], [40.5]], to.shape), atol=1e-4)
    assert float(target.heat[0, 15, 40]) == pytest.approx(np.exp(-0.5 / 8), rel=1e-5)
    assert not target.is_instance[0, 20:24, 4:8].any()
    assert not target.is_counted[0, 20:24, 4:8].any()
    assert not target.is_counted[0, :, 42:].any()
    assert target.is_counted[0, 0, 0]


class Painted(nn.Module):
    """Reads labels, heat and rows to the centre from red, green and blue."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        red, green, blue = image.unbind(1)
        logits = torch.stack([127 - red, red - 127], dim=1) / 16
        offsets = torch.stack([blue - 128, torch.zeros_like(blue)], dim=1)
        return group_pixels(logits, green / 255, offsets, max_instances=2)


def test_touching_bars_pass_the_gate_and_are_two_instruments(tmp_path: Path) -> None:
    """Three bars side by side: one more than the model's maximum, which is counted."""
    frames = []
    for count in (2, 3):
        frame = np.zeros((H, W, 3), np.uint8)
        for place in range(count):
            bar = np.s_[4:28, 8 + 10 * place : 18 + 10 * place]
            frame[bar] = (255, 0, 0)
            frame[bar][..., 2] = (128 + 15 - np.arange(4, 28))[:, None]
            frame[15, 12 + 10 * place, 1] = 250 - 20 * place
        frames.append(frame)
    manifest = Manifest(
        name="bars",
        task="instances",
        method="center-offset",
        classes=ClassTable.from_names(["background", "grasper"]),
        input=InputSpec(height=H, width=W),
        extra={"instances": {"form": "detections", "score": 0.3, "max_instances": 2}},
    )
    out = tmp_path / "bars.trocar"
    report = export_bundle(Painted(), manifest, out, frames=frames, open_model=run_onnx)
    assert report.failures == ()
    with Session.open(out) as session:
        for frame, count in zip(frames, (2, 3), strict=True):
            result = session.run(frame)
            assert len(result.instruments) == 2
            assert result.instance_count == count
            assert [one.box[0] for one in result.instruments] == [8, 18]
            assert [round(one.score, 2) for one in result.instruments] == [0.98, 0.9]
