"""What a study found: ``tune.json``, ``tune.md`` and the best settings as a recipe.

outcome = outcome_of(study.trials, method="supervised", monitor="iou_mean", fixed={}, space=space)
write_report(outcome, Path("runs/tune"))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import tomli_w

from trocar.contract.bundle import write_atomic
from trocar.train.state.run_folder import disk_errors
from trocar.train.tuning.space import Space
from trocar.train.tuning.study import FOLDER, WHY

SHOWN = 20
"""Trials in the table of ``tune.md``, the best first."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial.

    Attributes:
        number: Its number in the study, from 0.
        state: ``complete``, ``pruned``, ``failed``, ``running`` or ``waiting``.
        score: Its score; of a pruned trial the last one.
        settings: The settings that were searched.
        folder: Name of its folder in ``trials``.
        seconds: From its start to its end; ``None`` while it runs.
        why: Why it failed.
    """

    number: int
    state: str
    score: float | None
    settings: Mapping[str, Any]
    folder: str
    seconds: float | None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All trials of a study.

    Attributes:
        method: Command name of the method.
        monitor: The score, the higher the better.
        fixed: Settings of all trials.
        search: What was searched, as texts.
        trials: The trials by number.
    """

    method: str
    monitor: str
    fixed: Mapping[str, Any]
    search: Mapping[str, str]
    trials: tuple[TrialResult, ...]

    @property
    def ranked(self) -> list[TrialResult]:
        """The complete trials, the best first."""
        done = [one for one in self.trials if one.state == "complete"]
        return sorted(done, key=lambda one: -(one.score or 0.0))

    @property
    def best(self) -> TrialResult | None:
        """The best complete trial."""
        return next(iter(self.ranked), None)

    def recipe(self) -> dict[str, Any]:
        """The best settings as a flat recipe; empty where no trial is complete."""
        if self.best is None:
            return {}
        return {"method": self.method, **self.fixed, **self.best.settings}


def outcome_of(
    trials: Sequence[Any],
    *,
    method: str,
    monitor: str,
    fixed: Mapping[str, Any],
    space: Space,
) -> Outcome:
    """Collects Optuna's trials."""
    choices = {one.name for one in space.parameters if one.choices}
    results = []
    for one in trials:
        state = {"fail": "failed"}.get(one.state.name.lower(), one.state.name.lower())
        lasting = one.duration
        results.append(
            TrialResult(
                number=one.number,
                state=state,
                score=one.value if one.value is not None else _last(one.intermediate_values),
                settings={
                    name: json.loads(value) if name in choices else value
                    for name, value in sorted(one.params.items())
                },
                folder=str(one.user_attrs.get(FOLDER, "")),
                seconds=None if lasting is None else round(lasting.total_seconds(), 1),
                why=str(one.user_attrs.get(WHY, "its process died" if state == "failed" else "")),
            )
        )
    return Outcome(
        method=method,
        monitor=monitor,
        fixed=dict(fixed),
        search=space.to_dict(),
        trials=tuple(results),
    )


def write_report(outcome: Outcome, folder: Path) -> None:
    """Writes ``tune.json``, ``tune.md`` and, where a trial is complete, ``best.toml``.

    Raises:
        SinkError: The disk is full or not writable.
    """
    document = {**asdict(outcome), "best": None if outcome.best is None else asdict(outcome.best)}
    with disk_errors(folder):
        write_atomic(folder / "tune.json", (json.dumps(document, indent=1) + "\n").encode())
        write_atomic(folder / "tune.md", markdown(outcome).encode())
        if outcome.best is not None:
            write_atomic(folder / "best.toml", tomli_w.dumps(outcome.recipe()).encode())


def markdown(outcome: Outcome) -> str:
    """The report for people."""
    counts = {
        state: sum(one.state == state for one in outcome.trials)
        for state in ("complete", "pruned", "failed", "running", "waiting")
    }
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [
        f"# Search for settings of {outcome.method}",
        "",
        f"Trials: {said or 'none'}. Score: `{outcome.monitor}` on validation frames, of each run's "
        "best checkpoint.",
        "The best of many scores is too high by chance: report scores of the best model on test "
        "frames, once.",
        "",
    ]
    if outcome.best is not None:
        best = outcome.best
        lines += [
            f"Best: trial {best.number}, {outcome.monitor} {best.score:.4f}, run in "
            f"`trials/{best.folder}`; its settings are in `best.toml`.",
            "",
        ]
    names = list(outcome.search)
    lines += [
        f"| trial | {outcome.monitor} | {' | '.join(names)} | state | seconds |",
        "| --- " * (len(names) + 4) + "|",
    ]
    others = [one for one in outcome.trials if one.state != "complete"]
    for one in [*outcome.ranked, *others][:SHOWN]:
        cells = [
            str(one.number),
            "" if one.score is None else f"{one.score:.4f}",
            *(_cell(one.settings.get(name)) for name in names),
            one.state + (f": {one.why[:60]}" if one.why else ""),
            "" if one.seconds is None else f"{one.seconds:g}",
        ]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    lines += ["", "| setting | searched | effect on the score |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {text.replace('|', '/')} | {effect(outcome, name)} |"
        for name, text in outcome.search.items()
    ]
    return "\n".join(lines) + "\n"


def effect(outcome: Outcome, name: str) -> str:
    """How the scores of complete trials go with a setting: rank correlation, or means of choices.

    Source of the rank correlation: Spearman, 1904.
    """
    from scipy.stats import spearmanr

    pairs = [
        (one.settings[name], one.score)
        for one in outcome.ranked
        if name in one.settings and one.score is not None
    ]
    if outcome.search[name].startswith("["):
        groups: dict[str, list[float]] = {}
        for value, score in pairs:
            groups.setdefault(_cell(value), []).append(score)
        means = sorted(((fmean(v), k, len(v)) for k, v in groups.items()), reverse=True)
        return "; ".join(f"{key}: {mean:.4f} ({count})" for mean, key, count in means)
    values, scores = [value for value, _ in pairs], [score for _, score in pairs]
    if len(pairs) < 4 or len(set(values)) < 2 or len(set(scores)) < 2:
        return "too few trials"
    return f"rank correlation {float(spearmanr(values, scores).statistic):+.2f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _last(values: Mapping[int, float]) -> float | None:
    return values[max(values)] if values else None
