"""Write a model card and a bill of materials of a bundle.

trocar card model.trocar --evaluation eval/ --intended-use "…" --out card/
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.commands._help import GroupedCommand, grouped

_PATH = click.Path(path_type=Path)


@click.command(cls=GroupedCommand)
@click.argument("model", type=_PATH)
@grouped(
    "Output",
    click.option("--out", type=_PATH, help="Folder to write. [default: MODEL with .card]"),
    click.option("--overwrite", is_flag=True, help="Replace files that exist."),
)
@grouped(
    "What was measured",
    click.option(
        "--evaluation",
        "evaluations",
        type=_PATH,
        multiple=True,
        help="Folder of `trocar evaluate … --out` for this model; repeatable.",
    ),
)
@grouped(
    "What only its makers can state",
    click.option("--intended-use", default="", metavar="TEXT", help="For what, and by whom."),
    click.option("--licence", default="", metavar="TEXT", help="Licence of the model."),
    click.option("--data-licence", default="", metavar="TEXT", help="Licence of the data."),
    click.option(
        "--weights-licence", default="", metavar="TEXT", help="Licence of the first weights."
    ),
    click.option("--author", default="", metavar="TEXT", help="Who made it."),
    click.option("--model-version", "version", default="", metavar="TEXT", help="Its version."),
)
def card(
    model: Path, out: Path | None, overwrite: bool, evaluations: tuple[Path, ...], **stated: str
) -> None:
    """Write MODEL_CARD.md and bom.cdx.json about MODEL.

    Scores come from the parity gate and from evaluations. What nobody stated is called so. The
    bill of materials is a CycloneDX 1.6 ML-BOM.
    """
    import json
    from datetime import datetime, timezone

    from trocar.card.cyclonedx import ml_bom
    from trocar.card.facts import Stated, collect
    from trocar.card.markdown import model_card
    from trocar.contract.bundle import open_bundle, write_atomic
    from trocar.contract.errors import OutputExistsError

    folder = model.with_suffix(".card") if out is None else out
    files = {name: folder / name for name in ("MODEL_CARD.md", "bom.cdx.json")}
    taken = [str(path) for path in files.values() if path.exists()]
    if taken and not overwrite:
        raise OutputExistsError(
            f"{' and '.join(taken)} exists already",
            remedy="name another --out, or pass --overwrite",
        )
    facts = collect(open_bundle(model), evaluations=evaluations, stated=Stated(**stated))
    bom = json.dumps(ml_bom(facts, now=datetime.now(timezone.utc)), indent=1, ensure_ascii=False)
    write_atomic(files["MODEL_CARD.md"], model_card(facts).encode())
    write_atomic(files["bom.cdx.json"], f"{bom}\n".encode())
    click.echo(f"wrote {files['MODEL_CARD.md']} and {files['bom.cdx.json']}")
