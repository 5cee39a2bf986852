"""Writes a model card as Markdown.

text = model_card(facts)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from trocar.card.facts import NOT_STATED, Facts
from trocar.contract.text.licences import licence_warnings


def model_card(facts: Facts) -> str:
    """The card; what nobody stated is called so."""
    manifest, stated = facts.bundle.manifest, facts.stated
    source = manifest.source
    size = f"{manifest.input.width}x{manifest.input.height}"
    sections = [
        f"# {_plain(manifest.name)}",
        f"A {manifest.task} model for frames of surgical video, made with Trocar. Method "
        f"{_plain(manifest.method)}, precision {manifest.precision}.",
        "## Intended use",
        stated.intended_use or f"{NOT_STATED.capitalize()}.",
        "For research use only. It is not a medical device.",
        "## Input and outputs",
        f"Frames as they were decoded (uint8 RGB, any size); the graph resizes them to {size}.",
        _table(
            ("output", "type", "shape"),
            ((o.name, o.dtype, " x ".join(map(str, o.shape))) for o in manifest.outputs),
        ),
        "## Classes",
        _table(
            ("id", "name", "instrument", "type", "part"),
            ((r.id, r.name, "yes" if r.instrument else "no", r.type, r.part)
             for r in manifest.classes),
        ),
        "## Training",
        _table(("what", "value"), _training(facts, source)),
        "## Measured scores",
        _scores(facts),
        "## What was not measured",
        _limits(facts),
        "## Licences",
        _table(
            ("of", "licence"),
            (
                ("the model", stated.licence or NOT_STATED),
                (f"the training data ({facts.data})", stated.data_licence or NOT_STATED),
                (f"the first weights ({facts.weights})", stated.weights_licence or NOT_STATED),
            ),
        ),
        *_licence_warnings(facts),
        "## Files",
        _table(("file", "SHA-256"), facts.files.items()),
        "`manifest.json` is hashed in its canonical form. "
        + ("A signature lies in the bundle." if facts.is_signed else "The bundle is not signed."),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _licence_warnings(facts: Facts) -> list[str]:
    stated = {"weights": facts.stated.weights_licence, "data": facts.stated.data_licence}
    return [f"**Warning:** {_plain(text)}." for text in licence_warnings(stated)]


def _training(facts: Facts, source: Mapping[str, object]) -> list[tuple[str, str]]:
    rows = [
        ("author", facts.stated.author or NOT_STATED),
        ("version", facts.stated.version or NOT_STATED),
        ("data", facts.data),
        ("first weights", facts.weights),
    ]
    for key in ("from", "architecture", "command", "step", "checkpoint_sha256"):
        if source.get(key):
            rows.append((key, str(source[key])))
    for key in ("recipe", "export", "notes"):
        if source.get(key):
            rows.append((key, json.dumps(source[key], ensure_ascii=False)))
    return rows


def _scores(facts: Facts) -> str:
    if not facts.scores:
        return "None. Evaluate it: `trocar evaluate BUNDLE DATA --out DIR`."
    rows = []
    for score in facts.scores:
        ends = "" if score.interval is None else "{:.4f} to {:.4f}".format(*score.interval)
        rows.append((score.name, score.of, f"{score.value:.4g}", ends, score.on))
    return _table(("score", "of", "value", "95 % interval", "measured on"), rows)


def _limits(facts: Facts) -> str:
    lines = [f"- {note}" for note in facts.parity.get("notes") or ()]
    if not any(", split " in score.on for score in facts.scores):
        lines.append("- No evaluation on a test set is known.")
    lines.append("- Other hospitals, cameras, instruments and procedures than those of the data.")
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _plain(value: object) -> str:
    """Text that stays in its cell and is no markup."""
    text = " ".join(str(value).split())
    for character in "\\|<`":
        text = text.replace(character, f"\\{character}")
    return text
