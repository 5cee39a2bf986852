"""Make a verified bundle of an ONNX file from elsewhere.

trocar import-onnx model.onnx --input-spec model.toml --frames frames/ --out model.trocar
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trocar.commands._gate_options import (
    PATH,
    GateRequest,
    calibration_frames,
    gate_frames,
    gate_options,
)
from trocar.commands._help import GroupedCommand, grouped
from trocar.commands._models import open_model
from trocar.console.export import print_report
from trocar.console.progress import progress_bar
from trocar.contract.bundle import open_bundle
from trocar.contract.errors import ConfigError
from trocar.contract.outputs import check_outputs
from trocar.export.bundle import bundle_from_onnx
from trocar.export.graph.imported.onnx_source import read_onnx
from trocar.export.graph.input_spec import FORM_NAMES, read_spec


@click.command(cls=GroupedCommand)
@click.argument("source", type=PATH)
@grouped(
    "Output",
    click.option("--out", type=PATH, required=True, help="Bundle to write."),
    click.option("--overwrite", is_flag=True, help="Replace a bundle that exists."),
)
@grouped(
    "The ONNX file",
    click.option(
        "--input-spec",
        type=PATH,
        required=True,
        metavar="FILE",
        help="TOML file that states what SOURCE takes: size, normalisation, channels, task.",
    ),
    click.option(
        "--classes", type=PATH, metavar="FILE", help="Class table (TOML), if the spec names none."
    ),
    click.option(
        "--form",
        type=click.Choice(list(FORM_NAMES)),
        help="Form of an instance model's outputs. [default: recognised]",
    ),
)
@gate_options
def import_onnx(
    source: Path, out: Path, input_spec: Path, classes: Path | None, form: str | None, **flags: Any
) -> None:
    """Make a bundle of SOURCE, an ONNX file that was not trained with Trocar.

    Pre- and postprocessing become part of the graph. The result is compared with SOURCE on your
    frames; if they differ beyond the limits, no bundle is written.
    """
    gate = GateRequest.from_flags({**flags, "out": out})
    faults = list(gate.faults())
    if gate.frames is None:
        faults.append("--frames is missing: the parity gate needs frames with instruments in view")
    if faults or gate.frames is None:
        raise ConfigError("; ".join(faults), remedy="see `trocar import-onnx --help`")
    check_outputs(
        {"--out": out},
        inputs=[source, input_spec, gate.frames],
        folders=["--out"],
        bundles=["--out"],
    )
    external = read_spec(input_spec, classes=classes, name=source.stem, form=form or "")
    options = gate.options
    if gate.calibrate is not None:
        images = calibration_frames(gate.calibrate, external.manifest)
        options = replace(options, calibration=images)
    with progress_bar() as bar:
        report = bundle_from_onnx(
            read_onnx(source),
            external,
            out,
            source=str(source),
            frames=gate_frames(gate.frames, gate.max_frames, external.manifest),
            open_model=open_model,
            options=options,
            on_progress=bar.update_stage,
        )
    print_report(report, out)
    if open_bundle(out).manifest.source.get("output") == "labels":
        click.echo(
            f"{source} returns labels, no logits: the gate compared labels, and the confidence of "
            "every pixel is 1"
        )
