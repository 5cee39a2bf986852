"""``trocar enroll``: teaches a classifier bundle a class from photographs, on any machine.

trocar enroll tools.trocar --class "harmonic scalpel" photos/*.jpg
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.contract.errors import ConfigError
from trocar.runtime.enrolment import enroll as enrolment

_FILE = click.Path(path_type=Path)


@click.command("enroll")
@click.argument("model", type=_FILE)
@click.argument("photos", type=_FILE, nargs=-1)
@click.option("--class", "name", help="Name of the class that PHOTOS show.")
@click.option("--replace", "replace_class", is_flag=True, help="Replace a class of that name.")
@click.option("--list", "list_classes", is_flag=True, help="Print the classes.")
@click.option("--remove", "gone", metavar="NAME", help="Take a class out.")
@click.option("--undo", "undo_last", is_flag=True, help="Go back to before the last change.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
def enroll(
    model: Path,
    photos: tuple[Path, ...],
    name: str | None,
    replace_class: bool,
    list_classes: bool,
    gone: str | None,
    undo_last: bool,
    threads: int | None,
) -> None:
    """Add a class to MODEL from PHOTOS in which the object fills the picture.

    The bundle is changed in one step or not at all; a class that cannot be told apart from
    another is refused.
    """
    asked = [flag for flag, on in (
        ("--class", name), ("--list", list_classes), ("--remove", gone), ("--undo", undo_last),
    ) if on]  # fmt: skip
    if len(asked) != 1:
        raise ConfigError(
            f"got {' and '.join(asked) or 'nothing to do'}, expected one of --class, --list, "
            "--remove, --undo",
            remedy='e.g. trocar enroll model.trocar --class "bone saw" photos/*.jpg',
        )
    if photos and name is None:
        raise ConfigError(f"{asked[0]} takes no photographs", remedy="leave them out")
    if name is not None:
        done = enrolment.enroll(
            model, name, list(photos), replace_class=replace_class, threads=threads
        )
        share = "" if done.recognised is None else (
            f"; {done.recognised:.0%} of them are recognised when left out"
        )  # fmt: skip
        click.echo(
            f"{'replaced' if done.replaced else 'enrolled'} {done.name!r} from {done.photos} "
            f"photograph(s){share}; most alike: {done.nearest!r} ({done.similarity:.3f})"
        )
        return
    if gone is not None:
        enrolment.remove(model, gone)
        click.echo(f"removed {gone!r}")
    elif undo_last:
        enrolment.undo(model)
        click.echo("undone")
    _print(model)


def _print(model: Path) -> None:
    _, store = enrolment.open_classes(model)
    counts = [int((store.owners == place).sum()) for place in range(len(store.names))]
    for name, trained, count in zip(store.names, store.trained, counts, strict=True):
        origin = "trained" if trained else f"enrolled from {count} photograph(s)"
        click.echo(f"{name}\t{origin}")
