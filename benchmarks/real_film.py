"""What a user sees on real films, against their truth: found, missed and added instruments, tips.

python benchmarks/real_film.py FOLDER model.trocar --out /tmp/films

FOLDER is a set of films with instances, e.g. EndoVis 2015 robotic with its masks beside the films
or in ``GT/``. Each film is run as `trocar run` runs it. Instruments are matched with the true ones
by the IoU of their masks, 0.5 or more. Tips and entries are compared with those that the same
algorithm locates on the true mask, as a percentage of the frame's diagonal. Frames of patients must
not be published: OUT must lie outside of this repository.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2

from trocar.contract.errors import ConfigError, TrocarError

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="set of films with instances")
    parser.add_argument("models", type=Path, nargs="+", help="bundles of segmentation models")
    parser.add_argument("--films", nargs="+", help="names of films  [default: all]")
    parser.add_argument("--max-frames", type=int, help="frames of each film  [default: all]")
    parser.add_argument("--live", action="store_true", help="smooth masks as a live run does")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=JSON",
        help="a field of ModelOptions, e.g. postprocess=false; may be repeated",
    )
    parser.add_argument("--out", type=Path, help="folder for table, JSON and contact sheets")
    given = parser.parse_args()
    try:
        run(given)
    except TrocarError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


def run(given: argparse.Namespace) -> None:
    from helpers.films.report import markdown
    from helpers.films.truth import open_films

    out: Path | None = given.out
    if out is not None and out.resolve().is_relative_to(ROOT):
        raise ConfigError(
            f"--out {out} lies in the repository {ROOT}",
            remedy="name a folder outside of it: frames of patients must not be committed",
        )
    films = open_films(given.folder, given.films)
    figures: list[dict[str, Any]] = []
    for model in given.models:
        for film in films:
            figures.append(measure(model, film, given, sheets=out))
            print(f"{figures[-1]['model']}, {film.name}: done", file=sys.stderr)
    table = markdown(figures)
    print(table, end="")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "real_film.md").write_text(table, encoding="utf-8")
        document = {
            "command": "python " + " ".join(sys.argv),
            "machine": f"{platform.system()} {platform.machine()}",
            "films": figures,
        }
        (out / "real_film.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def measure(model: Path, film: Any, given: argparse.Namespace, *, sheets: Path | None) -> Any:
    """Figures of one model on one film; writes the contact sheet."""
    from helpers.films.masks import groups_of
    from helpers.films.measure import measure_film
    from helpers.films.report import contact_sheet

    from trocar.contract.bundle import write_atomic
    from trocar.contract.media.pictures import encode_picture
    from trocar.runtime.pipeline.assemble import make_frame_processor, open_session

    options = model_options(model, given.set)
    with open_session(options, live=given.live) as session:
        if session.manifest.task != "segmentation":
            raise ConfigError(f"{model} is a classifier", remedy="name a segmentation model")
        processor = make_frame_processor(session, options, live=given.live)
        groups = groups_of(session.classes, session.options)
        measured = measure_film(
            film, processor, session.classes, groups, max_frames=given.max_frames
        )
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
            sheet = contact_sheet(measured.shown, session.classes)
            picture = encode_picture(sheet, ".jpg", quality=88)
            write_atomic(sheets / f"{model.stem}_{film.name}.jpg", picture)
    return {"model": model.stem, "film": film.name, **measured.figures}


def model_options(model: Path, settings: list[str]) -> Any:
    """`ModelOptions` of a bundle with the fields of ``--set``."""
    from trocar.runtime.pipeline.options import ModelOptions

    known = {one.name for one in fields(ModelOptions)} - {"path"}
    values: dict[str, Any] = {}
    for text in settings:
        name, _, value = text.partition("=")
        if name not in known:
            raise ConfigError(
                f"--set {text}: there is no field {name!r}",
                remedy="choose of " + ", ".join(sorted(known)),
            )
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return ModelOptions(path=model, **values)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
