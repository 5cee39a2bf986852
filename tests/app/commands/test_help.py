"""Help in groups."""

from __future__ import annotations

import click
from click.testing import CliRunner

from trocar.commands._help import GroupedCommand, grouped


@click.command(cls=GroupedCommand)
@click.argument("source")
@grouped(
    "Input",
    click.option("--rate", type=int, default=25, help="Frames a second."),
    click.option("--kind", type=click.Choice(["file", "camera"]), default="file"),
)
@grouped("Output", click.option("--out", help="Folder."))
@click.option("--quiet", is_flag=True)
@grouped("Input", click.option("--loop", is_flag=True, help="Again and again."))
def command(source: str, **flags: object) -> None:
    """Plays a source."""
    click.echo(f"{source} {sorted(flags.items())}")


def test_options_stand_under_their_titles_in_order_with_defaults_and_choices() -> None:
    text = CliRunner().invoke(command, ["--help"], catch_exceptions=False).output
    places = [
        text.index(part)
        for part in (
            "Input:", "--rate", "[default: 25]", "[file|camera]", "[default: file]", "--loop",
            "Output:", "--out", "Other options:", "--quiet", "--help",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert text.count("Input:") == 1
    assert "SOURCE" not in text[text.index("Input:") :]


def test_values_arrive_as_without_groups() -> None:
    done = CliRunner().invoke(command, ["x", "--rate", "3", "--loop"], catch_exceptions=False)
    assert done.output == (
        "x [('kind', 'file'), ('loop', True), ('out', None), ('quiet', False), ('rate', 3)]\n"
    )


def test_without_groups_the_title_is_clicks_own() -> None:
    @click.command(cls=GroupedCommand)
    @click.option("--rate", default=1)
    def plain(rate: int) -> None: ...

    text = CliRunner().invoke(plain, ["--help"]).output
    assert "Options:" in text
    assert "Other options:" not in text
