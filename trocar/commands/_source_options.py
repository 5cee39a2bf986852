"""Flags of ``trocar export --from LIBRARY``, and what they make.

request = source_request(flags)
network, manifest = load_source(request)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trocar.commands._help import grouped
from trocar.commands._types import SizeType
from trocar.contract.errors import ConfigError
from trocar.export.sources.origins import origins

if TYPE_CHECKING:
    from torch import nn

    from trocar.contract.manifest import Manifest
    from trocar.export.sources.types import SourceRequest

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS = ("architecture", "encoder", "size", "mean", "std", "channels")


class TripleType(click.ParamType):  # type: ignore[type-arg]
    """Three numbers for red, green and blue, written as R,G,B."""

    name = "triple"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return "R,G,B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        """Reads ``0.5,0.5,0.5``.

        Raises:
            click.BadParameter: It is not three numbers.
        """
        if isinstance(value, tuple):
            return value
        try:
            red, green, blue = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers: write R,G,B, e.g. 0.5,0.5,0.5", param, ctx)
        return red, green, blue


def source_options(function: F) -> F:
    """Adds the flags of networks from other libraries."""
    return grouped(
        "Networks of other libraries",
        click.option(
            "--from",
            "origin",
            type=click.Choice(origins()),
            help="Library that wrote SOURCE: hf is transformers, smp is "
            "segmentation_models_pytorch. No code in SOURCE is run.",
        ),
        click.option(
            "--architecture",
            metavar="NAME",
            help="The library's name of the network, where SOURCE does not state it.",
        ),
        click.option(
            "--encoder",
            metavar="NAME",
            help="The library's name of the encoder, where SOURCE does not state it.",
        ),
        click.option(
            "--size", type=SizeType(), help="Size of the network's input, instead of SOURCE's."
        ),
        click.option(
            "--mean",
            type=TripleType(),
            help="Mean of each channel in units of 0..1, instead of SOURCE's.",
        ),
        click.option(
            "--std", type=TripleType(), help="Standard deviation likewise, instead of SOURCE's."
        ),
        click.option(
            "--channels",
            type=click.Choice(["rgb", "bgr"]),
            help="Order in which the network takes the channels, instead of SOURCE's.",
        ),
    )(function)


def source_faults(flags: Mapping[str, Any]) -> Iterator[str]:
    """What does not fit among the flags of `source_options` and their neighbours."""
    if flags["origin"] is None:
        for name in _FLAGS:
            if flags[name] is not None:
                yield f"--{name} is for --from only"
        return
    if flags["source"] is None:
        yield f"--from {flags['origin']} needs SOURCE, the folder or file of the library"
    for name in ("module", "input_spec"):
        if flags[name] is not None:
            yield f"--{name.replace('_', '-')} is not for --from"


def source_request(flags: Mapping[str, Any]) -> SourceRequest | None:
    """The request of a command line; ``None`` without ``--from``.

    Raises:
        ConfigError: Flags that do not fit together, all at once.
    """
    faults = list(source_faults(flags))
    if faults:
        raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")
    if flags["origin"] is None:
        return None
    from trocar.export.sources.types import SourceRequest

    return SourceRequest(
        origin=flags["origin"],
        path=flags["source"],
        weights=flags["weights"],
        architecture=flags["architecture"] or "",
        encoder=flags["encoder"] or "",
        size=flags["size"],
        mean=flags["mean"],
        std=flags["std"],
        channels=flags["channels"] or "",
        classes=flags["classes"],
    )


def load_source(request: SourceRequest) -> tuple[nn.Module, Manifest]:
    """Opens the network and prints what the bundle does otherwise than its library."""
    from trocar.export.sources.open import open_source

    opened = open_source(request)
    for note in opened.notes:
        click.echo(f"note: {note}", err=True)
    return opened.network, opened.external.manifest
