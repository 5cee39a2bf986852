"""What is known about a bundle: its files, what was measured, and what its makers state.

facts = collect(open_bundle("model.trocar"), evaluations=[Path("eval")], stated=Stated())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trocar.contract.bundle import MANIFEST, PARITY, Bundle
from trocar.contract.errors import DataError
from trocar.contract.signatures.statement import SIGNATURE
from trocar.contract.text.licences import licences_of
from trocar.contract.text.outside_json import load_json
from trocar.report.sources import read_evaluation

NOT_STATED = "not stated"

_GATE_TRUTH = "labelled frames of the parity gate, which may be of the training or validation set"


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What only the makers of a model can say.

    Attributes:
        intended_use: For what and by whom; empty if not stated.
        licence: Licence of the model, SPDX where there is one.
        data_licence: Licence of the training data.
        weights_licence: Licence of the weights that training began with.
        author: Who made it.
        version: Version of the model.
    """

    intended_use: str = ""
    licence: str = ""
    data_licence: str = ""
    weights_licence: str = ""
    author: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured number.

    Attributes:
        name: What was measured, e.g. ``iou_mean``.
        value: The number.
        of: The class or ``all classes``.
        on: On what it was measured.
        interval: Ends of the confidence interval; ``None`` where there is none.
    """

    name: str
    value: float
    of: str = "all classes"
    on: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a card says.

    Attributes:
        bundle: The bundle.
        parity: ``parity.json``; empty if the bundle has none.
        scores: Measured scores, those of the gate first.
        data: Name of the training data; `NOT_STATED` if not known.
        weights: Name of the weights that training began with.
        stated: What its makers state.
        is_signed: Whether a signature lies in the bundle; it is not verified here.
    """

    bundle: Bundle
    parity: Mapping[str, Any]
    scores: tuple[Score, ...]
    data: str
    weights: str
    stated: Stated
    is_signed: bool
    files: Mapping[str, str] = field(default_factory=dict)


def collect(bundle: Bundle, *, evaluations: Sequence[Path], stated: Stated) -> Facts:
    """Collects what is known.

    Args:
        bundle: The bundle, opened.
        evaluations: Folders of ``trocar evaluate --out`` for this model.
        stated: What its makers state.

    Raises:
        DataError: An evaluation is of another model, or cannot be read.
    """
    source = bundle.manifest.source
    parity: dict[str, Any] = {}
    if PARITY in bundle.manifest.files:
        parity = load_json(bundle.read(PARITY))
    scores = _gate_scores(parity)
    for folder in evaluations:
        scores += _evaluation_scores(folder, source)
    recipe = source.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    return Facts(
        bundle=bundle,
        parity=parity,
        scores=tuple(scores),
        data=_data_of(source),
        weights=str(recipe.get("encoder_weights") or "") or _file_names(source.get("weights")),
        stated=_with_recorded(stated, licences_of(source)),
        is_signed=(bundle.path / SIGNATURE).is_file(),
        files={MANIFEST: bundle.sha256, **bundle.manifest.files},
    )


def _with_recorded(stated: Stated, recorded: Mapping[str, str]) -> Stated:
    """Adds the licences that training recorded, where the makers state none now."""
    return replace(
        stated,
        data_licence=stated.data_licence or recorded.get("data", ""),
        weights_licence=stated.weights_licence or recorded.get("weights", ""),
    )


def _gate_scores(parity: Mapping[str, Any]) -> list[Score]:
    """Agreement with the reference, and scores against ground truth where the gate had it."""
    on = f"frames of the parity gate, against {parity.get('reference', 'the reference')}"
    numbers = parity.get("numbers") or {}
    scores = [
        Score(name=name, value=float(numbers[name]), on=on)
        for name in ("equal", "largest_logit_difference")
        if isinstance(numbers.get(name), (int, float))
    ]
    truth = (parity.get("truth") or {}).get("candidate") or {}
    on = _GATE_TRUTH
    for key, value in truth.items():
        if isinstance(value, (int, float)):
            scores.append(Score(name=key, value=float(value), on=on))
    for row in truth.get("classes") or ():
        for key in ("iou", "dice", "accuracy"):
            if isinstance(row.get(key), (int, float)):
                scores.append(Score(name=key, value=float(row[key]), of=str(row["name"]), on=on))
    return scores


def _evaluation_scores(folder: Path, source: Mapping[str, Any]) -> list[Score]:
    data = read_evaluation(folder).data
    model = data.get("model") or {}
    theirs = model.get("source") or {}
    key = "checkpoint_sha256"
    same = theirs[key] == source[key] if key in theirs and key in source else theirs == source
    if not same:
        raise DataError(
            f"{folder} is an evaluation of another model ({model.get('path')})",
            remedy="evaluate this bundle: trocar evaluate BUNDLE DATA --out DIR",
        )
    about = data.get("data") or {}
    on = f"{about.get('path', folder)}, split {about.get('split')}, {about.get('frames')} frames"
    intervals = data.get("intervals") or {}
    scores = []
    for name, value in (data.get("scores") or {}).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            ends = intervals.get(name) or intervals.get(f"frame_{name}")
            interval = (float(ends[0]), float(ends[1])) if ends else None
            scores.append(Score(name=name, value=float(value), on=on, interval=interval))
    return scores


def _data_of(source: Mapping[str, Any]) -> str:
    data = source.get("data")
    if isinstance(data, Mapping):
        return ", ".join(str(value) for value in data.values()) or NOT_STATED
    return str(source.get("dataset") or data or NOT_STATED)


def _file_names(weights: object) -> str:
    return ", ".join(map(str, weights)) if isinstance(weights, Mapping) else NOT_STATED
