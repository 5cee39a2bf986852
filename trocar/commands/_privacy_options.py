"""The flags of `trocar run` about pictures from outside the body.

options = privacy_options(flags)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trocar.commands._help import grouped
from trocar.runtime.privacy.options import MODES, PrivacyOptions

privacy_flags = grouped(
    "Privacy",
    click.option(
        "--out-of-body",
        type=click.Path(file_okay=False, path_type=Path),
        help="Classifier bundle with the class inside: what it is not sure of is outside.",
    ),
    click.option(
        "--privacy",
        type=click.Choice(MODES),
        default=PrivacyOptions.mode,
        help="Cover pictures from outside the body before they leave; needs the out-of-body model.",
    ),
    click.option(
        "--inside-above",
        type=click.FloatRange(0, 1),
        default=PrivacyOptions.certainty,
        help="Certainty of inside below which a picture counts as outside.",
    ),
)


def privacy_options(flags: Mapping[str, Any]) -> PrivacyOptions:
    """The options for click's values.

    Raises:
        ConfigError: Pictures shall be covered without a model.
    """
    return PrivacyOptions(
        model=flags["out_of_body"], mode=flags["privacy"], certainty=flags["inside_above"]
    )
