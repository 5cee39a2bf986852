"""Makes the job of an archive: its recordings, outputs and settings, checked before any work.

recordings = recordings_from(["archive/**/*.mp4"], Path("results"))
job = make_job(options, Path("results"))
"""

from __future__ import annotations

import glob
import hashlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trocar.contract.bundle import MANIFEST, open_bundle, sha256_of
from trocar.contract.errors import ConfigError, SourceError
from trocar.contract.signatures.signed_bundle import verify_bundle
from trocar.runtime.archive.state import MARKER, Job, settings_of
from trocar.runtime.pipeline.options import OutputOptions, RunOptions
from trocar.runtime.sources.addresses import is_stream

RESULTS = "results.jsonl"
"""Name of the JSON lines in a recording's folder, where no other is given."""


def recordings_from(sources: Sequence[str], out: Path) -> list[Path]:
    """Absolute paths of the recordings, each once, in the order of their names.

    Files in ``out`` are left out: a pattern may match the results of an earlier run.

    Raises:
        SourceError: A source that matches nothing.
        ConfigError: A live stream.
    """
    found: set[Path] = set()
    for source in sources:
        if is_stream(source):
            raise ConfigError(
                f"{source} is a live stream, expected recordings",
                remedy="run it without --out",
            )
        matched = [source] if os.path.exists(source) else glob.glob(source, recursive=True)
        paths = {Path(os.path.abspath(match)) for match in matched}
        paths = {path for path in paths if out != path and out not in path.parents}
        if not paths:
            raise SourceError(
                f"nothing matches {source!r}",
                remedy="check the path; quote patterns: 'archive/**/*.mp4'",
            )
        found |= paths
    return sorted(found)


def outputs_of(output: OutputOptions) -> dict[str, str]:
    """File name in a recording's folder by output; JSON lines are always among them."""
    return {"json": RESULTS, **output.named()}


def output_faults(output: OutputOptions) -> list[str]:
    """What is wrong with the outputs of an archive: names must be plain and differ."""
    names = list(outputs_of(output).values())
    faults = [
        f"{name!r} is not a plain file name"
        for name in names
        if Path(name).name != name or name.startswith(".") or name in ("", MARKER)
    ]
    if len(set(names)) != len(names):
        faults.append("two outputs have the same name")
    return faults


def archive_error(faults: Sequence[str]) -> ConfigError:
    """The error for options that do not fit an archive; all faults in one."""
    return ConfigError(
        "; ".join(faults),
        remedy="with --out each recording has a folder of its own; name files in it, e.g. "
        "--overlay overlay.mp4 --csv instruments.csv",
    )


def make_job(options: RunOptions, out: Path) -> Job:
    """The job of an archive; checks the models before any work.

    Raises:
        BundleError: A model is not a bundle, or is damaged.
    """
    model, classifier = options.model.path.absolute(), options.model.classifier
    if classifier is not None:
        classifier = classifier.absolute()
    trust = None if options.model.trust is None else options.model.trust.absolute()
    body = None if options.privacy.model is None else options.privacy.model.absolute()
    outputs = outputs_of(options.output)
    return Job(
        # What is overwritten is decided by `done.json`; in a new folder nothing can be.
        options=replace(
            options,
            model=replace(options.model, path=model, classifier=classifier, trust=trust),
            output=replace(options.output, overwrite=False),
            privacy=replace(options.privacy, model=body),
        ),
        out=out,
        model=_model_hash(model, trust),
        settings=settings_of(
            options,
            outputs,
            classifier=None if classifier is None else _model_hash(classifier, trust),
            body=None if body is None else _model_hash(body, trust),
        ),
        outputs=outputs,
        run=uuid.uuid4().hex[:12],
        overwrite=options.output.overwrite,
    )


def _model_hash(path: Path, trust: Path | None) -> str:
    """SHA-256 of a bundle's manifest, which contains the hashes of its files."""
    if path.suffix == ".onnx" and path.is_file():
        return sha256_of(path)
    bundle = open_bundle(path)
    if trust is not None:
        verify_bundle(bundle, trust)
    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()
