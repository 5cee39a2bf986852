"""Licences of a run's first weights and of its data, for checkpoints and bundles.

record, notes = run_licences(method.config, run, data=Path("theatre"))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trocar.contract.errors import DataError
from trocar.contract.text.licences import licence_warnings
from trocar.contract.text.toml import read_toml
from trocar.train.state.settings import RunConfig


def run_licences(
    config: Any, run: RunConfig, *, data: Path, inherited: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Licences by what they are of, and what to say about them.

    Args:
        config: The method's settings.
        run: The loop's settings, which may state both licences.
        data: Folder of the labelled set; ``licence`` of its ``dataset.toml`` counts where the run
            states none.
        inherited: Licences of the run that this one starts from.

    Raises:
        DataError: ``licence`` in ``dataset.toml`` is no text, or the file cannot be read.
    """
    before = inherited or {}
    weights = _weights_of(config)
    record = {
        "weights": run.weights_licence or before.get("weights") or _published(config, weights),
        "data": run.data_licence or _data_licence(data),
    }
    earlier = before.get("data", "")
    if earlier and earlier != record["data"]:
        record["data"] = "; ".join(part for part in (record["data"], earlier) if part)
    record = {name: text for name, text in record.items() if text}
    notes = licence_warnings(record)
    if weights != "none" and "weights" not in record:
        notes.append(
            f"the licence of {weights} is not stated; --weights-licence TEXT records it in "
            "checkpoints and bundles"
        )
    return record, notes


def _weights_of(config: Any) -> str:
    for name in ("encoder_weights", "backbone_weights"):
        if hasattr(config, name):
            return str(getattr(config, name))
    return "none"


def _published(config: Any, weights: str) -> str:
    """The licence that timm states for its own weights; empty where it states none."""
    name = str(getattr(config, "encoder", "") or getattr(config, "backbone", ""))
    if weights != "imagenet" or ("encoder" in vars(config) and not name.startswith("tu-")):
        return ""
    from timm.models import get_pretrained_cfg

    about = get_pretrained_cfg(name.removeprefix("tu-"), allow_unregistered=True)
    return str(getattr(about, "license", None) or "")


def _data_licence(data: Path) -> str:
    file = data / "dataset.toml"
    if not file.is_file():
        return ""
    licence = read_toml(file).get("licence", "")
    if not isinstance(licence, str):
        raise DataError(
            f"{file}: licence is {licence!r}, expected text",
            remedy='write e.g. licence = "CC-BY-4.0"',
        )
    return licence
