"""What each rule of location does on real films: instruments of a frame with one rule off.

python benchmarks/location_rules.py FOLDER model.trocar --every 6

FOLDER is a set of films with instances, as for `real_film.py`. Each model runs once over each film;
its labels and confidences are then located with all rules, and with each one switched off. Printed:
the mean number of instruments, and the mean absolute difference to the true number.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from helpers.films.truth import joined_table, located_truth, open_films

from trocar.contract.errors import TrocarError
from trocar.contract.location import LocationOptions
from trocar.runtime.locate.instruments import locate
from trocar.runtime.session import Session

ALL = LocationOptions()
RULES = {
    "all rules": ALL,
    "no join_parts": replace(ALL, join_parts=False),
    "no max_gap": replace(ALL, max_gap=0.0),
    "no strip_depth": replace(ALL, strip_depth=0.0),
    "no min_relative_area": replace(ALL, min_relative_area=0.0),
    "no min_score, no relative_score": replace(ALL, min_score=0.0, relative_score=0.0),
    "no relative_score": replace(ALL, relative_score=0.0),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="set of films with instances")
    parser.add_argument("models", type=Path, nargs="+", help="bundles of segmentation models")
    parser.add_argument("--every", type=int, default=6, help="take each so many frames")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        for model in given.models:
            for film in open_films(given.folder, None):
                for rule, (found, difference) in measured(model, film, given.every).items():
                    print(f"{model.stem}, {film.name}, {rule}: {found:.2f} ({difference:.2f})")
    except TrocarError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


def measured(model: Path, film: Any, every: int) -> dict[str, tuple[float, float]]:
    """Mean number and mean absolute difference of one model on one film, by rule."""
    counts: dict[str, list[int]] = {rule: [] for rule in RULES}
    true: list[int] = []
    table = joined_table(film.frames.table)
    with Session.open(model, threads=1) as session:
        for frame in film.decoded():
            item = film.items.get(frame.index)
            if frame.index % every or item is None:
                continue
            outputs = session.infer(frame.image[None])
            labels, confidence = outputs["labels"][0], outputs["confidence"][0]
            for rule, options in RULES.items():
                found = locate(labels, confidence, session.classes, frame.image.shape[:2], options)
                counts[rule].append(len(found))
            mask = film.frames.read(item).mask
            instances = film.frames.instance_map(item, mask.shape)
            true.append(len(located_truth(mask, instances, table, label_size=labels.shape)))
    return {
        rule: (
            float(np.mean(own)),
            float(np.abs(np.array(own) - np.array(true)).mean()),
        )
        for rule, own in counts.items()
    }


if __name__ == "__main__":
    sys.exit(main())
