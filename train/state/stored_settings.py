"""Settings as files of older releases name them.

    current_settings("mean-teacher", {"ema": 0.99})      # {"ema_decay": 0.99}

Checkpoints and the ``config.toml`` of a run are read through `current_settings`. Recipes and the
command line are not: there an old name is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from trocar.contract.config import fields_of

_EMBEDDING = {"embedding": "embedding_size"}

RENAMED: Mapping[str, Mapping[str, str]] = {
    "mean-teacher": {"ema": "ema_decay", "ramp": "rampup_fraction", "passes": "mc_passes"},
    "cross-consistency": {"pretrain": "supervised_fraction", "ramp": "rampup_fraction"},
    "classifier": _EMBEDDING,
    "head-triplet": {**_EMBEDDING, "steps_in_turn": "alternate_losses"},
    "few-shot": {
        "tau": "temperature",
        "tau_attention": "attention_temperature",
        "tau_weight": "weight_temperature",
    },
}
"""Name today by name in release 0.1, for each method that has any."""

UNSTATED_DATA_SETTINGS: Mapping[str, Any] = {"hide_labels": "by-frame"}
"""Settings of the data that older runs do not state, with what those did."""

_STYLES = ("reinhard", "fourier", "histogram", "none")

NEW_WITH_EFFECT: Mapping[str, Any] = {"border": 0.0, "empty_frames": "as-drawn"}
"""Settings that runs of 0.1 do not state, with what those runs did; today's default is another."""


def with_defaults(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a stored run, with those that its release did not have at their defaults.

    Args:
        kind: The settings' dataclass.
        values: Settings by name, of a release that may not have had all of them.
    """
    defaults = {
        spec.name: _plain(spec.default)
        for spec in fields_of(kind)
        if spec.default is not MISSING and spec.default is not None
    }
    return {**defaults, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def current_settings(method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a stored run under the names of this release; others are left as they are.

    Args:
        method: Command name of the method.
        values: Settings by name, of this release or of 0.1.
    """
    renamed = RENAMED.get(method, {})
    current = {renamed.get(name, name): value for name, value in values.items()}
    if method == "mean-teacher" and current.get("style", "none") not in _STYLES:
        # In 0.1 the style was a kind or a folder; the folder is a setting of its own now.
        current["style_folder"] = current["style"]
        current["style"] = "none"
    return {**_unstated(method, current), **current}


def _unstated(method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that older releases did not have, where they did something else than the default.

    Runs of this release state every setting, so that nothing of this applies to them.
    """
    did: dict[str, Any] = {}
    if method in ("supervised", "mean-teacher", "cross-consistency"):
        did["texture_from"] = 0.0
    if method == "texture-entropy":
        did["w_dice"] = 0.0
    if method == "cross-consistency":
        did["vat_decoder"] = "main"
    if "noise" in values:
        did["teacher_noise"] = values["noise"]
    if values.get("batch_norm") == "frozen":
        did["decoder_norm"] = "frozen"
    elif "encoder" in values:
        did |= {"batch_norm": "train", "decoder_norm": "batch"}
    return did
