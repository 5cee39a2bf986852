"""Makes the parts of a run from its options: session, processor, sinks.

options = RunOptions(model=ModelOptions(path=Path("model.trocar")))
with open_session(options.model, live=False) as session:
    processor = make_frame_processor(session, options.model, live=False)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trocar.contract.location import LEGACY
from trocar.contract.outputs import check_own_folder
from trocar.runtime.devices import usable_cores
from trocar.runtime.locate.field_of_view import FieldOfViewTracker
from trocar.runtime.pipeline.core_division import fastest
from trocar.runtime.pipeline.crop_classifier import CropClassifier, open_classifier
from trocar.runtime.pipeline.frame_processor import FrameProcessor, PostProcessor
from trocar.runtime.pipeline.options import ModelOptions, OutputOptions
from trocar.runtime.privacy.body import BodyClassifier, open_body_classifier
from trocar.runtime.privacy.guard import FrameGuard
from trocar.runtime.privacy.options import PrivacyOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.added import open_added_sink
from trocar.runtime.sinks.base import Sink
from trocar.runtime.sinks.files import check_free
from trocar.runtime.sinks.openigtlink.sink import OpenIGTLinkSink
from trocar.runtime.sinks.records import Csv, JsonLines, PngFolder
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.addresses import is_stream
from trocar.runtime.sources.base import GivesNv12, HasSize, Source
from trocar.runtime.telemetry.latency import Stages
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.options import PersistenceOptions
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker


def sizes_of(sources: Iterable[Source]) -> tuple[tuple[int, int], ...]:
    """``(height, width)`` of all sources that state it before their first frame."""
    stated = [source.size for source in sources if isinstance(source, HasSize)]
    return tuple(dict.fromkeys(size for size in stated if all(size)))


def open_session(
    model: ModelOptions,
    *,
    live: bool,
    frame_sizes: Sequence[tuple[int, int]] = (),
    sources: Sequence[Source] | None = None,
) -> Session:
    """Opens the model; its idle threads do not spin, so that other threads get the cores.

    Live, one frame gets all threads, for the shortest delay. From a file on a CPU, each frame gets
    one thread and several frames are processed at once, for the most frames a second.

    Args:
        model: Which model.
        live: Whether frames are lost when they are late.
        frame_sizes: ``(height, width)`` of the frames, where they are known.
        sources: Those that can give NV12 do so, where the bundle has a graph for it, which is
            not opened if none can; ``None``: not known yet, see `give_planes`.

    Raises:
        TrocarError: See `Session.open`.
    """
    can_give = sources is None or any(isinstance(source, GivesNv12) for source in sources)
    backend_options: dict[str, Any] = {}
    if model.backend == "onnxruntime":
        backend_options["spinning"] = False
        if model.cuda_graph:
            backend_options["graphs"] = True
    session = Session.open(
        model.path,
        device=model.device,
        backend=model.backend,
        precision=model.precision,
        threads=model.threads or (None if live or model.device != "cpu" else 1),
        location=model.location,
        fast_resize=model.fast_resize,
        trust=model.trust,
        frame_sizes=frame_sizes,
        nv12=can_give and not model.fast_resize,
        **backend_options,
    )
    give_planes(session, sources or ())
    return session


def give_planes(session: Session, sources: Iterable[Source]) -> None:
    """Lets sources that can give NV12 do so, where the model has a graph for it."""
    for source in sources:
        if isinstance(source, GivesNv12):
            source.nv12 = session.takes_nv12


def open_second_stage(model: ModelOptions) -> CropClassifier | None:
    """Opens the classifier of ``model.classifier``; ``None`` without one.

    It averages scores by track, so each stream needs its own.

    Raises:
        BundleError: It is not a classifier bundle.
    """
    if model.classifier is None:
        return None
    return open_classifier(
        model.classifier,
        device=model.device,
        threads=model.threads,
        threshold=model.reject_below,
        trust=model.trust,
    )


def open_body(privacy: PrivacyOptions, model: ModelOptions) -> BodyClassifier | None:
    """Opens the out-of-body model of ``privacy.model``, for all streams; ``None`` without one.

    It runs on the device of ``model``, and must be signed as that is.

    Raises:
        BundleError: It is not a classifier bundle with a class ``inside``.
    """
    if privacy.model is None:
        return None
    return open_body_classifier(
        privacy.model, device=model.device, certainty=privacy.certainty, trust=model.trust
    )


def make_guard(
    privacy: PrivacyOptions, body: BodyClassifier | None, *, live: bool
) -> FrameGuard | None:
    """The guard of one stream; a file's waits for its verdicts. ``None`` without a model."""
    if body is None:
        return None
    limit_ms = privacy.limit_ms if live else None
    return FrameGuard(body, mode=privacy.mode, limit_ms=limit_ms)


def make_frame_processor(
    session: Session,
    model: ModelOptions,
    *,
    live: bool,
    classifier: PostProcessor | None = None,
) -> FrameProcessor:
    """The model with tracking, presence and, where given, a classifier of crops as the last step.

    Masks are smoothed in live runs only: the records of a file state what the model returned.
    """
    segments = session.manifest.makes_labels
    # Instances are steady by their identity; smoothing pixels would mix them.
    smooths = session.manifest.task == "segmentation" and live
    smooths = smooths and model.postprocess and model.temporal.smooth
    steps: list[PostProcessor] = []
    if segments and model.postprocess:
        persistence: PersistenceOptions | None = model.temporal.persistence
        if session.options == LEGACY and persistence == PersistenceOptions():
            # A bundle without options of location reports all that it finds, as version 0.1 did.
            persistence = None
        steps = [
            Tracker(model.temporal.tracks, persistence),
            Presence(session.classes, session.options),
        ]
    if classifier is not None:
        steps.append(classifier)
    return FrameProcessor(
        session,
        stages=Stages(),
        smoother=MaskSmoother() if smooths else None,
        post_processors=steps,
        view_finder=FieldOfViewTracker() if segments else None,
    )


def divide_cores(
    session: Session, model: ModelOptions, *, source: Source, max_frames: int | None
) -> tuple[Session, int, str]:
    """The session with which a file is run, its frames at once, and what to tell people.

    Long runs on many cores measure it, where ``model`` does not state its threads.

    Args:
        session: As `open_session` gave it; closed if another one is returned.
        model: Which model.
        source: The file.
        max_frames: Frames after which the run ends; ``None`` reads all.
    """
    if session.device != "cpu" or model.threads is not None:
        return session, workers_for(session, model.threads), ""
    sizes = sizes_of([source])
    counts = [count for count in (source.total, max_frames) if count is not None]

    def reopen(threads: int) -> Session:
        own = replace(model, threads=threads)
        return open_session(own, live=False, frame_sizes=sizes, sources=[source])

    chosen, division, note = fastest(
        session,
        reopen,
        size=sizes[0] if sizes else None,
        frames=min(counts, default=None),
        cores=usable_cores(),
    )
    return chosen, division.workers, note


def workers_for(session: Session, threads: int | None) -> int:
    """Frames in the model at once: all cores busy on a CPU, two in turn on a GPU."""
    if session.device != "cpu":
        return 2
    return max(1, usable_cores() // (threads or 1))


def make_sinks(output: OutputOptions, *, live: bool) -> list[Sink]:
    """Makes the sinks, and refuses outputs that exist before any work is done.

    Args:
        output: Names without ``{n}``, see `OutputOptions.numbered`.
        live: Whether what was written stays, under a partial name, if the run dies.

    Raises:
        OutputExistsError: An output exists already.
        ConfigError: There is no such sink of a plug-in.
        SinkError: The port of `OutputOptions.igtl` is in use.
        MissingExtraError: OpenIGTLink needs a package that is not installed.
    """
    overwrite = output.overwrite
    for text in (output.overlay, output.json, output.csv):
        if text is not None and not is_stream(str(text)):
            check_free(Path(text), overwrite=overwrite)
    for folder in (output.frames, output.masks):
        if folder is not None:
            check_own_folder(folder, overwrite=overwrite)
    sinks: list[Sink] = []
    if output.overlay is not None:
        sinks.append(
            VideoSink(output.overlay, options=output.encoding, overwrite=overwrite, live=live)
        )
    if output.json is not None:
        sinks.append(
            JsonLines(output.json, overwrite=overwrite, live=live, masks=output.json_masks)
        )
    if output.csv is not None:
        sinks.append(Csv(output.csv, overwrite=overwrite, live=live))
    if output.frames is not None:
        sinks.append(PngFolder(output.frames, overwrite=overwrite, live=live))
    if output.masks is not None:
        sinks.append(PngFolder(output.masks, masks=True, overwrite=overwrite, live=live))
    if output.igtl is not None:
        sinks.append(OpenIGTLinkSink(output.igtl))
    return [*sinks, *(open_added_sink(text, overwrite=overwrite) for text in output.sinks)]
