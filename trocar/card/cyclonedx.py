"""Writes a bill of materials of a model (ML-BOM) in CycloneDX 1.6.

document = ml_bom(facts, now=datetime.now(timezone.utc))

Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trocar import __version__
from trocar.card.facts import NOT_STATED, Facts, Score

SPEC = "1.6"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/trocar")


def ml_bom(facts: Facts, *, now: datetime) -> dict[str, Any]:
    """The document, ready for JSON.

    Args:
        facts: What is known.
        now: When it is written, with a time zone.
    """
    bundle = facts.bundle
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        # The same bundle has the same number.
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, bundle.sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": now.isoformat(timespec="seconds"),
            "tools": {
                "components": [{"type": "application", "name": "trocar", "version": __version__}]
            },
            "component": _model(facts),
        },
        "components": [*_files(facts), *_tools(bundle.manifest.source)],
    }


def _model(facts: Facts) -> dict[str, Any]:
    manifest, stated = facts.bundle.manifest, facts.stated
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "hashes": [{"alg": "SHA-256", "content": facts.bundle.sha256}],
        "modelCard": {
            "modelParameters": _parameters(facts),
            "quantitativeAnalysis": {"performanceMetrics": [_metric(s) for s in facts.scores]},
            "considerations": {
                "useCases": [stated.intended_use or NOT_STATED],
                "technicalLimitations": [
                    "For research use only; not a medical device.",
                    *map(str, facts.parity.get("notes") or ()),
                ],
            },
        },
        "properties": [
            {"name": "trocar:precision", "value": manifest.precision},
            {"name": "trocar:method", "value": manifest.method},
            {"name": "trocar:weights", "value": facts.weights},
            {"name": "trocar:weights-licence", "value": stated.weights_licence or NOT_STATED},
        ],
    }
    if stated.version:
        component["version"] = stated.version
    if stated.author:
        component["authors"] = [{"name": stated.author}]
    if stated.licence:
        component["licenses"] = [{"license": {"name": stated.licence}}]
    return component


def _parameters(facts: Facts) -> dict[str, Any]:
    manifest = facts.bundle.manifest
    licence = facts.stated.data_licence or NOT_STATED
    return {
        "task": manifest.task,
        "modelArchitecture": str(
            manifest.source.get("architecture") or _encoder(manifest.source) or NOT_STATED
        ),
        "datasets": [
            {
                "type": "dataset",
                "name": facts.data,
                "description": f"Training data; licence: {licence}.",
            }
        ],
        "inputs": [{"format": "uint8 [N, H, W, 3] RGB"}],
        "outputs": [
            {"format": f"{output.name}: {output.dtype} {list(output.shape)}"}
            for output in manifest.outputs
        ],
    }


def _encoder(source: Mapping[str, Any]) -> str:
    recipe = source.get("recipe")
    return str(recipe.get("encoder", "")) if isinstance(recipe, Mapping) else ""


def _metric(score: Score) -> dict[str, Any]:
    metric: dict[str, Any] = {
        "type": score.name,
        "value": f"{score.value:.6g}",
        "slice": f"{score.of}; {score.on}",
    }
    if score.interval is not None:
        low, high = score.interval
        metric["confidenceInterval"] = {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"}
    return metric


def _files(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "bom-ref": f"file:{name}",
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for name, digest in facts.bundle.manifest.files.items()
    ]


def _tools(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The libraries that exported the model."""
    versions = source.get("export")
    if not isinstance(versions, Mapping):
        return []
    return [
        {
            "type": "library",
            "bom-ref": f"library:{name}",
            "name": str(name),
            "version": str(version),
            "scope": "excluded",
        }
        for name, version in versions.items()
    ]
