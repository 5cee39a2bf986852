"""What one call of ``trocar export`` makes: its flags, checked together.

request = ExportRequest.from_flags(flags)     # ConfigError with every fault
request.bundle, request.engines
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar.commands._gate_options import GateRequest
from trocar.commands._source_options import source_request
from trocar.contract.bundle import MANIFEST
from trocar.contract.errors import ConfigError
from trocar.export.tensorrt.build import EngineOptions
from trocar.export.tensorrt.bundle_engines import profile_of

if TYPE_CHECKING:
    from trocar.export.sources.types import SourceRequest


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What one call of ``trocar export`` makes.

    Attributes:
        source: Run folder, checkpoint or float32 bundle; ``None`` with ``module``.
        out: Bundle to write; ``None`` to work on the bundle ``source`` itself.
        gate: Precision, frames and limits.
        engines: Engines to build into the bundle.
        triton: Folder for a Triton model repository.
        triton_classifier: Classifier's bundle for a Triton ensemble.
        module: ``package.module:factory`` of an external network.
        weights: Its state dictionary.
        input_spec: Its input spec.
        classes: Its class table.
        form: Form of its outputs, for an instance model; ``None`` to recognise it.
        origin: ``source`` as a network of another library; ``None`` without ``--from``.
    """

    source: Path | None
    out: Path | None
    gate: GateRequest
    engines: tuple[EngineOptions, ...]
    triton: Path | None
    triton_classifier: Path | None
    module: str | None
    weights: Path | None
    input_spec: Path | None
    classes: Path | None
    form: str | None = None
    origin: SourceRequest | None = None

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> ExportRequest:
        """Makes the request of a command line.

        Raises:
            ConfigError: Flags that do not fit together, all at once.
        """
        names = ("source", "out", "triton", "triton_classifier", "module", "weights", "input_spec",
                 "form")  # fmt: skip
        request = cls(
            gate=GateRequest.from_flags(flags),
            engines=_engine_options(flags),
            classes=flags["classes"],
            origin=source_request(flags),
            **{name: flags[name] for name in names},
        )
        faults = list(request._faults())
        if faults:
            raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")
        return request

    @property
    def in_place(self) -> bool:
        """Whether engines or a repository are made of ``source`` itself, without an export."""
        return self.out is None and (bool(self.engines) or self.triton is not None)

    @property
    def is_conversion(self) -> bool:
        """Whether ``source`` is a bundle."""
        if self.source is None or self.origin is not None:
            return False
        return (self.source / MANIFEST).is_file()

    @property
    def bundle(self) -> Path:
        """The bundle that the call writes or works on."""
        path = self.out or self.source
        assert path is not None
        return path

    def _faults(self) -> Iterator[str]:
        if self.source is None and self.module is None:
            yield "nothing to export: name a run folder, a checkpoint or a bundle"
        elif self.source is not None and self.module is not None:
            yield f"{self.source} and --module {self.module} were both named: choose one"
        elif self.source is not None and not self.source.exists():
            yield f"there is no {self.source}"
        elif self.in_place and not self.is_conversion:
            yield f"{self.source} is not a bundle: engines go into a bundle, name one with --out"
        if self.module is not None and self.input_spec is None:
            yield "--module needs --input-spec FILE, which states what the network takes"
        if self.weights is not None and self.module is None and self.origin is None:
            yield "--weights is for --module and --from only"
        if self.form is not None and self.module is None:
            yield "--form is for --module only"
        if self.in_place:
            if self.gate.options.precision != "fp32":
                yield "--precision makes another bundle: name it with --out"
            return
        if self.out is None:
            yield "--out is missing: name the bundle to write"
        has_own_frames = self.source is not None and self.origin is None and not self.is_conversion
        if self.gate.frames is None and not has_own_frames:
            yield "--frames is missing: the parity gate needs frames with instruments in view"
        yield from self.gate.faults()


def _engine_options(flags: Mapping[str, Any]) -> tuple[EngineOptions, ...]:
    if not flags["engines"]:
        return ()
    if flags["engine_shape"] is None:
        raise ConfigError(
            "--engine-shape is missing: an engine is built for stated frame sizes",
            remedy="give the size of your video, e.g. --engine-shape 1920x1080",
        )
    names = ("workspace_mib", "optimization_level", "hardware_compatibility", "version_compatible",
             "strip_weights", "refit", "timing_cache", "tf32")  # fmt: skip
    profile = profile_of(flags["engine_shape"], flags["batch"])
    return tuple(
        EngineOptions(flavour=flavour, profile=profile, **{name: flags[name] for name in names})
        for flavour in flags["engines"]
    )


class RangeType(click.ParamType):  # type: ignore[type-arg]
    """One value, or three as MIN:OPT:MAX; the command receives all three."""

    name = "range"

    def __init__(self, kind: click.ParamType[Any], form: str) -> None:
        self.kind = kind
        self.form = form

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return f"{self.form}[:{self.form}:{self.form}]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Reads ``1:4:8``; a single value counts three times.

        Raises:
            click.BadParameter: Neither one value nor three.
        """
        if isinstance(value, tuple):
            return value
        parts = str(value).split(":")
        if len(parts) not in (1, 3):
            self.fail(f"{value!r} is neither {self.form} nor MIN:OPT:MAX", param, ctx)
        values = tuple(self.kind.convert(part, param, ctx) for part in parts)
        return values * 3 if len(values) == 1 else values
