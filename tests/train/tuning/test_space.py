"""What a search may name, and what it draws."""

from __future__ import annotations

from typing import Any

import pytest

from trocar.contract.errors import ConfigError
from trocar.train.losses.supervision_and_texture import SegmentationConfig
from trocar.train.state.settings import RunConfig
from trocar.train.tuning.space import read_space

KINDS = (SegmentationConfig, RunConfig)


class Drawn:
    """Draws the largest value of a range and the last choice, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        self.asked[name] = (low, high, log)
        return high

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        self.asked[name] = (low, high, log)
        return high

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked[name] = list(choices)
        return choices[-1]


def test_ranges_and_choices() -> None:
    space = read_space(
        {
            "lr": "1e-4:1e-2:log",
            "batch_size": "4:16",
            "w_dice": "0:2",
            "clip": "1, 5",
            "encoder": "resnet18,resnet34",
            "size": [[64, 80], [128, 160]],
        },
        KINDS,
    )
    drawn = Drawn()
    assert space.suggest(drawn) == {
        "lr": 1e-2,
        "batch_size": 16,
        "w_dice": 2.0,
        "clip": 5.0,
        "encoder": "resnet34",
        "size": [128, 160],
    }
    assert drawn.asked["lr"] == (1e-4, 1e-2, True)
    assert drawn.asked["batch_size"] == (4, 16, False)
    assert isinstance(drawn.asked["batch_size"][0], int)
    assert space.to_dict()["lr"] == "0.0001:0.01:log"
    assert [one.name for one in read_space({}, KINDS).parameters] == ["lr", "weight_decay"]


def test_every_fault_is_said_at_once() -> None:
    search = {
        "lrr": "1:2",
        "seed": "1:5",
        "lr": "1e-2:1e-4",
        "weight_decay": "0:1:log",
        "batch_size": "1.5:4",
        "clip": "1:2:lin",
        "encoder": "resnet18",
        "warmup": "a,b",
    }
    with pytest.raises(ConfigError) as caught:
        read_space(search, KINDS)
    words = (
        r"'lrr' is not known \(did you mean lr",
        "seed: cannot be searched",
        "lr: got 0.01:0.0001, expected the smaller number first",
        "weight_decay: got 0:1:log, expected numbers above 0",
        "batch_size: got 1.5:4, expected whole numbers",
        "clip: got '1:2:lin', expected LOW:HIGH or LOW:HIGH:log",
        "encoder: got .*, expected a range or two choices",
        "warmup: got .*, expected a range or two choices",
    )
    for word in words:
        assert caught.match(word)
    assert "NAME=LOW:HIGH" in caught.value.remedy
