"""What a run is asked to do: the typed request that commands build and every worker receives.

    options = RunOptions(model=ModelOptions(path=Path("model.trocar"), device="cuda:0"))

All parts are frozen, compare by value and can be pickled, so that they travel to Ray workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trocar.contract.config import require
from trocar.contract.errors import ConfigError
from trocar.contract.instances.masks import MaskForm
from trocar.contract.location import LocationOptions
from trocar.contract.media.video.damage import Damage
from trocar.runtime.draw.show import DEFAULT_SHOW
from trocar.runtime.privacy.options import PrivacyOptions
from trocar.runtime.sinks.openigtlink.sink import IgtlOptions
from trocar.runtime.sinks.video import EncodeOptions
from trocar.runtime.sources.addresses import is_stream, redacted
from trocar.runtime.sources.base import SourceOptions
from trocar.runtime.temporal.options import PersistenceOptions, TrackOptions


@dataclass(frozen=True, kw_only=True)
class TemporalOptions:
    """What is done over several frames.

    Attributes:
        tracks: When tracks begin and end.
        persistence: Which tracked regions are reported; ``None`` reports all.
        smooth: Whether the masks of live runs are smoothed.
    """

    tracks: TrackOptions = field(default_factory=TrackOptions)
    persistence: PersistenceOptions | None = field(default_factory=PersistenceOptions)
    smooth: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model runs, and how.

    Attributes:
        path: The bundle, or a bare ``.onnx`` file that carries its manifest.
        device: ``cpu``, ``cuda`` or ``cuda:N``: exactly this one, or an error.
        backend: One of `trocar.runtime.backends.backend_names`.
        precision: What the arithmetic must be, e.g. ``fp16``; ``None`` takes the bundle's.
        threads: CPU threads of the model, 1 or more; ``None`` chooses by mode.
        cuda_graph: Whether ONNX Runtime on CUDA records the work once and replays it.
        fast_resize: Whether frames are shrunk with OpenCV before the graph.
        postprocess: Whether tracking, presence and (live) mask smoothing run.
        classifier: Classifier bundle that names each located instrument.
        reject_below: Certainty below which the classifier answers ``unknown``; ``None`` takes the
            threshold that was calibrated at export.
        temporal: What is done over several frames, where ``postprocess`` is true.
        location: Options of location that replace those of the model, by name.
        trust: PEM file of the key or certificates that must have signed the bundle, and the
            classifier's; ``None`` looks at no signature.
    """

    path: Path
    device: str = "cpu"
    backend: str = "onnxruntime"
    precision: str | None = None
    threads: int | None = None
    cuda_graph: bool = False
    fast_resize: bool = False
    postprocess: bool = True
    classifier: Path | None = None
    reject_below: float | None = None
    temporal: TemporalOptions = field(default_factory=TemporalOptions)
    location: Mapping[str, Any] = field(default_factory=dict)
    trust: Path | None = None

    def __post_init__(self) -> None:
        require(
            (
                self.threads is None or self.threads >= 1,
                f"threads is {self.threads}, expected 1 or more",
            )
        )
        LocationOptions().changed(self.location, source="location")
        if self.cuda_graph and self.backend != "onnxruntime":
            raise ConfigError(
                f"--cuda-graph is for --backend onnxruntime, not {self.backend}",
                remedy="leave it out: the tensorrt backends record graphs by themselves",
            )


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """How sources are opened and read.

    Attributes:
        source: How one source is decoded.
        max_frames: Frames after which a file ends, 1 or more; ``None`` reads all of it.
        realtime: Whether a file is read at its own frame rate instead of as fast as possible.
        reconnect: Whether a live stream that ends or fails is opened again.
        allow_damaged: Whether damaged and missing frames of a file are accepted; otherwise they are
            an error, which is raised when the outputs are complete.
    """

    source: SourceOptions = field(default_factory=SourceOptions)
    max_frames: int | None = None
    realtime: bool = False
    reconnect: bool = True
    allow_damaged: bool = False

    def __post_init__(self) -> None:
        require(
            (
                self.max_frames is None or self.max_frames >= 1,
                f"max_frames is {self.max_frames}, expected 1 or more",
            )
        )

    def unaccepted(self, damage: Damage) -> str:
        """What was lost of a file and was not accepted, in words; empty for nothing.

        A file that ends early and is accepted so (``allow_truncated``) may end in a damaged packet.
        """
        accepted = self.allow_damaged or (damage.ends_early and self.source.allow_truncated)
        return "" if accepted else damage.text


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Which outputs are written. ``{n}`` in a name stands for the stream's number in live runs.

    Attributes:
        overlay: File or address of the overlay video.
        json: File of JSON lines, one for each result.
        json_masks: Form in which the masks of instruments stand in it; ``None`` for no masks.
        csv: File of comma-separated values, one row for each instrument.
        frames: Folder of PNG overlays, one for each frame.
        masks: Folder of PNG label maps at frame size, one for each frame.
        metrics: File of latencies and counts; ``.prom`` is Prometheus's text format, else JSON.
        trace: File of a trace for https://ui.perfetto.dev (live).
        igtl: Where a server for 3D Slicer and PLUS (OpenIGTLink) listens; ``None`` for none.
        sinks: Sinks of plug-ins as ``NAME:TARGET``, see `trocar.runtime.sinks.added`.
        overwrite: Whether outputs that exist are replaced.
        show: What overlays show, of `trocar.runtime.draw.show.PARTS`.
        encoding: How the overlay video is encoded.
    """

    overlay: str | None = None
    json: Path | None = None
    json_masks: MaskForm | None = None
    csv: Path | None = None
    frames: Path | None = None
    masks: Path | None = None
    metrics: Path | None = None
    trace: Path | None = None
    igtl: IgtlOptions | None = None
    sinks: tuple[str, ...] = ()
    overwrite: bool = False
    show: tuple[str, ...] = DEFAULT_SHOW
    encoding: EncodeOptions = field(default_factory=EncodeOptions)

    def named(self) -> dict[str, str]:
        """The outputs of frames that were asked for: file, folder or address by field name."""
        fields = {
            "overlay": self.overlay,
            "json": self.json,
            "csv": self.csv,
            "frames": self.frames,
            "masks": self.masks,
        }
        return {name: str(value) for name, value in fields.items() if value is not None}

    def files(self) -> dict[str, Path]:
        """The outputs that are files or folders, by flag; addresses are none."""
        flags = {"frames": "--save-frames", "masks": "--save-masks"}
        files = {
            flags.get(name, f"--{name}"): Path(text)
            for name, text in self.named().items()
            if not is_stream(text)
        }
        for flag, path in (("--metrics", self.metrics), ("--trace", self.trace)):
            if path is not None:
                files[flag] = path
        return files

    def numbered(self, number: int) -> OutputOptions:
        """The outputs of one live stream: ``{n}`` in names replaced by its number, own ports."""
        names = {key: text.replace("{n}", str(number)) for key, text in self.named().items()}
        sinks = tuple(text.replace("{n}", str(number)) for text in self.sinks)
        igtl = None if self.igtl is None else self.igtl.numbered(number)
        return replace(self.renamed(names), sinks=sinks, igtl=igtl)

    def renamed(self, names: dict[str, str]) -> OutputOptions:
        """The same settings with other outputs; an output that ``names`` lacks is not written.

        Args:
            names: File, folder or address by field name, as `named` gives them.
        """

        def path(key: str) -> Path | None:
            return Path(names[key]) if key in names else None

        return replace(
            self,
            overlay=names.get("overlay"),
            json=path("json"),
            csv=path("csv"),
            frames=path("frames"),
            masks=path("masks"),
        )


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """How a live run behaves.

    Attributes:
        max_age_ms: Age of a mask above which it is not drawn.
        deadline_ms: Longest time from capture to result, above 0; later results are counted.
            ``None`` sets no deadline.
        shed_load: Whether to do less work when the deadline is missed too often.
        stale_after_s: Seconds without a new frame after which the stream is STALE.
        watchdog_s: Seconds without an answer after which the model is in FAULT.
        status: Whether the overlay carries a line with state and age.
        max_batch: Frames of different streams that go through the model in one batch.
        max_regions: Connected regions of a mask above which the smallest are left out and the
            stream is DEGRADED; 0 for no limit.
        seconds: Seconds after which the run ends; ``None`` runs until all streams end.
    """

    max_age_ms: float = 300.0
    deadline_ms: float | None = None
    shed_load: bool = False
    stale_after_s: float = 1.0
    watchdog_s: float = 5.0
    status: bool = True
    max_batch: int = 4
    max_regions: int = 256
    seconds: float | None = None

    def __post_init__(self) -> None:
        require(
            (self.max_age_ms > 0, f"max_age_ms is {self.max_age_ms}, expected above 0"),
            (
                self.deadline_ms is None or self.deadline_ms > 0,
                f"deadline_ms is {self.deadline_ms}, expected above 0",
            ),
            (self.stale_after_s > 0, f"stale_after_s is {self.stale_after_s}, expected above 0"),
            (self.watchdog_s > 0, f"watchdog_s is {self.watchdog_s}, expected above 0"),
            (self.max_batch >= 1, f"max_batch is {self.max_batch}, expected 1 or more"),
            (self.max_regions >= 0, f"max_regions is {self.max_regions}, expected 0 or more"),
        )
        if self.shed_load and self.deadline_ms is None:
            raise ConfigError(
                "load shedding needs a deadline", remedy="pass --deadline-ms, e.g. --deadline-ms 33"
            )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Everything about a run except which sources it reads.

    Attributes:
        model: The model.
        input: How sources are read.
        output: What is written.
        live: How a live run behaves.
        privacy: What happens to pictures from outside the body.
    """

    model: ModelOptions
    input: InputOptions = field(default_factory=InputOptions)
    output: OutputOptions = field(default_factory=OutputOptions)
    live: LiveOptions = field(default_factory=LiveOptions)
    privacy: PrivacyOptions = field(default_factory=PrivacyOptions)


def check_stream_outputs(output: OutputOptions, streams: int) -> None:
    """Refuses outputs that several live streams would share.

    Raises:
        ConfigError: There is more than one stream, and a name holds no ``{n}``.
    """
    names = (*output.named().values(), *output.sinks)
    shared = [name for name in names if "{n}" not in name]
    if streams > 1 and shared:
        raise ConfigError(
            f"{streams} streams cannot share the output {', '.join(map(redacted, shared))}",
            remedy="put {n} into the name: it stands for the stream's number",
        )
