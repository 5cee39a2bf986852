"""Make a verified bundle of an ONNX file from elsewhere.

trocar import-onnx model.onnx --spec model.toml --frames frames/ --out model.trocar
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trocar.commands._gate_options import bundle_options
from trocar.commands.export import open_runner
from trocar.export.cli import run_bundle

if TYPE_CHECKING:
    pass


@click.command()
@bundle_options
def import_onnx(**flags: Any) -> None:
    """Make a proven bundle of SOURCE, a finished ONNX file that was not trained here.

    The file runs inside the frame-in graph and beside itself, on your frames.
    """
    run_bundle(open_runner, **flags)
