"""Add a class to a classifier from photographs.

trocar enroll tools.trocar --class "harmonic scalpel" photos/*.jpg
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.commands._help import GroupedCommand
from trocar.contract.errors import ConfigError
from trocar.runtime.enrolment import enroll as enrolment

_FILE = click.Path(path_type=Path)


@click.command("enroll", cls=GroupedCommand)
@click.argument("model", type=_FILE)
@click.argument("photos", type=_FILE, nargs=-1)
@click.option("--class", "name", help="Name of the class that PHOTOS show.")
@click.option("--replace", "replace_class", is_flag=True, help="Replace a class of that name.")
@click.option("--list", "list_classes", is_flag=True, help="Print the classes.")
@click.option("--remove", "removed", metavar="NAME", help="Remove a class.")
@click.option("--undo", "undo_last", is_flag=True, help="Undo the last change.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: all cores]")
def enroll(
    model: Path,
    photos: tuple[Path, ...],
    name: str | None,
    replace_class: bool,
    list_classes: bool,
    removed: str | None,
    undo_last: bool,
    threads: int | None,
) -> None:
    """Adds a class to MODEL from PHOTOS in which the object fills the image.

    The bundle is changed atomically. A class that cannot be distinguished from another one is
    refused.
    """
    actions = [flag for flag, on in (
        ("--class", name), ("--list", list_classes), ("--remove", removed), ("--undo", undo_last),
    ) if on]  # fmt: skip
    if len(actions) != 1:
        raise ConfigError(
            f"got {' and '.join(actions) or 'no action'}, expected one of --class, --list, "
            "--remove, --undo",
            remedy='e.g. trocar enroll model.trocar --class "bone saw" photos/*.jpg',
        )
    if photos and name is None:
        raise ConfigError(f"{actions[0]} takes no photographs", remedy="leave PHOTOS out")
    if name is not None:
        done = enrolment.enroll(
            model, name, list(photos), replace_class=replace_class, threads=threads
        )
        recognised = "" if done.recognised is None else (
            f"; {done.recognised:.0%} of them are recognised when left out"
        )  # fmt: skip
        click.echo(
            f"{'replaced' if done.replaced else 'enrolled'} {done.name!r} from {done.photos} "
            f"photograph(s){recognised}; most similar class: {done.nearest!r} "
            f"({done.similarity:.3f})"
        )
        return
    if removed is not None:
        enrolment.remove(model, removed)
        click.echo(f"removed {removed!r}")
    elif undo_last:
        enrolment.undo(model)
        click.echo("undone")
    _print_classes(model)


def _print_classes(model: Path) -> None:
    _, store = enrolment.open_classes(model)
    counts = [int((store.owners == index).sum()) for index in range(len(store.names))]
    for name, trained, count in zip(store.names, store.trained, counts, strict=True):
        origin = "trained" if trained else f"enrolled from {count} photograph(s)"
        click.echo(f"{name}\t{origin}")
