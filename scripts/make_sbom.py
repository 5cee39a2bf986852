#!/usr/bin/env python3
"""Writes the software bill of materials of a release: CycloneDX 1.6, JSON.

    .venv/bin/python scripts/make_sbom.py --extra train --extra export dist/trocar.cdx.json

It lists what is installed here: Trocar, what it requires with the named extras, and what those
packages require, each with its version, licence and package address. Run it in the environment
that the release was tested in. SOURCE_DATE_EPOCH, where set, is the time that it states.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "trocar"
SPEC = "1.6"


class MissingPackageError(Exception):
    """A required package is not installed here."""


def closure(extras: Iterable[str]) -> dict[str, tuple[metadata.Distribution, set[str]]]:
    """Every required distribution by its normal name, with the names that it requires itself.

    Raises:
        MissingPackageError: A required package is not installed, or an extra is unknown.
    """
    found: dict[str, tuple[metadata.Distribution, set[str]]] = {}
    wanted = [(ROOT, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        name, chosen = wanted.pop()
        if (name, chosen) in seen:
            continue
        seen.add((name, chosen))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise MissingPackageError(
                f"{name} is required, but not installed here; install it: pip install {name}"
            ) from None
        offered = {
            canonicalize_name(e) for e in distribution.metadata.get_all("Provides-Extra") or ()
        }
        unknown = {canonicalize_name(e) for e in chosen} - offered
        if unknown and name == ROOT:
            raise MissingPackageError(
                f"Trocar has no extra {', '.join(sorted(unknown))}; it has "
                f"{', '.join(sorted(offered))}"
            )
        needs = found.setdefault(name, (distribution, set()))[1]
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not any(
                requirement.marker.evaluate({"extra": extra}) for extra in chosen or {""}
            ):
                continue
            needed = canonicalize_name(requirement.name)
            needs.add(needed)
            wanted.append((needed, frozenset(requirement.extras)))
    return found


def bill_of_materials(extras: Iterable[str], *, now: datetime) -> dict[str, Any]:
    """The document, ready for JSON.

    Args:
        extras: Extras of Trocar that the release is installed with.
        now: The time that it states, with a time zone.
    """
    found = closure(extras)
    components = {name: _component(name, found[name][0]) for name in sorted(found)}
    root = components.pop(ROOT) | {"type": "application"}
    references = "\n".join(c["bom-ref"] for c in [root, *components.values()])
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        # The same set of versions has the same number.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, references)}",
        "version": 1,
        "metadata": {"timestamp": now.isoformat(timespec="seconds"), "component": root},
        "components": list(components.values()),
        "dependencies": [
            {
                "ref": _reference(name, distribution),
                "dependsOn": sorted(_reference(need, found[need][0]) for need in needs),
            }
            for name, (distribution, needs) in sorted(found.items())
        ],
    }


def _reference(name: str, distribution: metadata.Distribution) -> str:
    return f"pkg:pypi/{name}@{distribution.version}"


def _component(name: str, distribution: metadata.Distribution) -> dict[str, Any]:
    about = distribution.metadata
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _reference(name, distribution),
        "name": name,
        "version": distribution.version,
        "purl": _reference(name, distribution),
    }
    if about["Summary"]:
        component["description"] = about["Summary"]
    licence = _licence(about)
    if licence is not None:
        component["licenses"] = [licence]
    return component


def _licence(about: Any) -> dict[str, Any] | None:
    """The licence as the package states it: an SPDX expression, a name, or its classifier."""
    if about["License-Expression"]:
        return {"expression": about["License-Expression"]}
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if "License" in c]
    stated = (about["License"] or "").strip()
    # Some packages put the whole text there.
    name = stated if stated and "\n" not in stated else next(iter(classifiers), "")
    return {"license": {"name": name[:200]}} if name else None


def main(arguments: list[str] | None = None) -> int:
    """Writes the file; exit code 1 where a required package is not installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="file to write, e.g. dist/trocar.cdx.json")
    parser.add_argument("--extra", action="append", default=[], help="extra of Trocar; repeatable")
    given = parser.parse_args(arguments)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = (
        datetime.now(timezone.utc)
        if epoch is None
        else datetime.fromtimestamp(int(epoch), timezone.utc)
    )
    try:
        document = bill_of_materials(given.extra, now=now)
    except MissingPackageError as error:
        print(f"make_sbom: {error}", file=sys.stderr)
        return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = given.out.with_name(f".{given.out.name}.part")
    temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(given.out)
    print(f"{given.out}: {len(document['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
