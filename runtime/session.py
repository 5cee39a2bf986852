"""A bundle, opened, verified and warm: frames in, results out.

with Session.open("model.trocar") as session:
    for instrument in session.run(frame).instruments:
        print(instrument.class_name, instrument.tips)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import MODEL, Bundle, open_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.errors import BundleError
from trocar.contract.location import LocationOptions
from trocar.contract.manifest import Manifest
from trocar.contract.media.clock import now_ns
from trocar.contract.media.nv12 import COLOURS, Nv12Picture, Picture, nv12_from_rgb, rgb_of
from trocar.contract.results import FrameResult, Instrument
from trocar.contract.tensorrt.engines import Profile
from trocar.runtime.backends import Backend, HasNotes, open_backend
from trocar.runtime.device_memory.frames import DeviceFrame
from trocar.runtime.device_memory.run import run_device
from trocar.runtime.enrolment.enroll import Enrolled, enroll, set_classes
from trocar.runtime.frames import check_frame, shrink
from trocar.runtime.golden import check_outputs
from trocar.runtime.inference import Frames, Graphs, batch_of, check_labels
from trocar.runtime.instances.located import locate_outputs
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.view_mask import outputs_in_view
from trocar.runtime.nv12_form import open_nv12
from trocar.runtime.opening import (
    check_fast_resize,
    location_of,
    model_of,
    open_model_file,
    open_verified,
)


class Session:
    """One model on one device. `infer` may be called from several threads.

    Attributes:
        manifest: The model's manifest.
        bundle: The bundle; ``None`` for a bare ``.onnx`` file.
        golden: Whether the golden frame was replayed; a bare ``.onnx`` file has none.
        options: What counts as an instrument.
        fast_resize: Whether `prepare` resizes frames.
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        *,
        bundle: Bundle | None = None,
        golden: bool = False,
        options: LocationOptions | None = None,
        fast_resize: bool = False,
        nv12: Backend | None = None,
    ) -> None:
        self._backend = backend
        self._graphs = Graphs(backend, nv12)
        self.manifest = manifest
        self.bundle = bundle
        self.golden = golden
        self.options = manifest.location_options if options is None else options
        self.fast_resize = fast_resize

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        device: str = "cpu",
        backend: str = "onnxruntime",
        precision: str | None = None,
        threads: int | None = None,
        spinning: bool | None = None,
        graphs: bool | None = None,
        options: LocationOptions | None = None,
        location: Mapping[str, Any] | None = None,
        fast_resize: bool = False,
        trust: str | Path | None = None,
        frame_sizes: Sequence[tuple[int, int]] = (),
        nv12: bool = True,
    ) -> Session:
        """Opens a bundle, or a bare ``.onnx`` file that contains its manifest.

        Every hash of a bundle is checked, its manifest is compared with its copies, and its golden
        frame is replayed, which also warms the model up. A bare file is warmed up with a black
        frame. What runs are the bytes that were checked; no file is read a second time.

        Args:
            path: The bundle's folder, or the ``.onnx`` file.
            device: ``cpu``, ``cuda`` or ``cuda:N``. There is no fallback to another device.
            backend: One of `trocar.runtime.backends.backend_names`.
            precision: Required precision of the arithmetic; default: the bundle's.
            threads: CPU threads; default: one per usable core.
            spinning: ``onnxruntime``: whether idle threads spin; default: yes. ``False`` leaves
                the cores to other threads.
            graphs: ``onnxruntime`` and ``tensorrt``: whether CUDA graphs are used; default: only by
                TensorRT.
            options: What counts as an instrument; default: what the bundle's manifest states.
            location: Options that replace those of the manifest, by name.
            fast_resize: Whether frames are resized with OpenCV before the graph. Faster on a CPU,
                not exactly equal (see `trocar.runtime.frames.shrink`).
            trust: PEM file with a public key or certificates; the bundle must be signed by it and
                unchanged (see `trocar.contract.signatures`). ``None`` looks at no signature.
            frame_sizes: ``(height, width)`` of the frames that will come, where they are known: a
                TensorRT backend chooses the engine that takes them.
            nv12: Whether the graph for NV12 is opened too, where the bundle has one.

        Raises:
            IntegrityError: ``trust`` was named and the bundle is not signed by it.
            BundleError: There is no bundle, or it is incomplete; also `IntegrityError` and
                `VersionError`.
            BackendError: Device, backend, precision or another option is not available.
            ParityError: The golden frame's result differs.
            ConfigError: An option is out of range, or names a class or part that is not known.
        """

        def open_model(model: Path, manifest: Manifest | None, data: bytes) -> Backend:
            return open_backend(
                backend,
                model,
                manifest,
                device=device,
                precision=precision,
                threads=threads,
                spinning=spinning,
                graphs=graphs,
                data=data,
            )

        file = Path(path)
        if file.suffix == ".onnx" and file.is_file():
            if trust is not None:
                raise BundleError(
                    f"{file} is a bare model, which cannot be signed",
                    remedy="open the signed bundle",
                )
            opened, manifest = open_model_file(file, open_model)
            try:
                chosen = location_of(manifest, options, location)
                check_fast_resize(manifest, fast_resize=fast_resize)
            except BaseException:
                opened.close()
                raise
            session = cls(opened, manifest, options=chosen, fast_resize=fast_resize)
            size = manifest.input.height, manifest.input.width
            outputs = session.infer(np.zeros((1, *size, 3), np.uint8))
            check_outputs(outputs, manifest, source=str(file))
            return session
        bundle = open_bundle(file)
        if trust is not None:
            from trocar.contract.signatures.signed_bundle import verify_bundle

            verify_bundle(bundle, trust)
        chosen = location_of(bundle.manifest, options, location)
        check_fast_resize(bundle.manifest, fast_resize=fast_resize)
        model = model_of(
            bundle, backend=backend, device=device, precision=precision, frame_sizes=frame_sizes
        )
        opened = open_verified(bundle, model, open_model)
        try:
            planes = open_nv12(bundle, open_model) if nv12 and model.name == MODEL else None
        except BaseException:
            opened.close()
            raise
        return cls(
            opened,
            bundle.manifest,
            bundle=bundle,
            golden=True,
            options=chosen,
            fast_resize=fast_resize,
            nv12=planes,
        )

    @property
    def classes(self) -> ClassTable:
        """The class table."""
        return self.manifest.classes

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Device in use, e.g. ``cuda:0``."""
        return self._backend.device

    @property
    def precision(self) -> str:
        """Precision of the arithmetic, e.g. ``fp16``."""
        return self._backend.precision

    @property
    def profile(self) -> Profile | None:
        """Batches and frame sizes that the model takes; ``None`` where it takes all."""
        return self._graphs.profile

    @property
    def takes_nv12(self) -> bool:
        """Whether NV12 frames go to a graph of their own; else they are converted to RGB."""
        return self._graphs.nv12 is not None and not self.fast_resize

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the runs so far, e.g. that no CUDA graph is used."""
        return tuple(self._backend.notes) if isinstance(self._backend, HasNotes) else ()

    def takes(self, height: int, width: int) -> bool:
        """Whether the model takes frames of this size in pixels; an engine takes stated sizes."""
        profile = self.profile
        return profile is None or profile.admits((profile.minimum[0], height, width))

    def warm_up(self, batch: int, height: int, width: int) -> None:
        """Prepares the model for frames of one shape, on the thread that calls.

        On a GPU the first runs of a shape choose kernels, allocate memory and record a graph.

        Raises:
            BackendError: The model does not take the shape.
        """
        frames = np.zeros((batch, height, width, 3), np.uint8)
        black = nv12_from_rgb(frames[0], COLOURS[0])
        for _ in range(1 if self.device == "cpu" else 2):
            self.infer(frames)
            if self.takes_nv12:
                self.infer([black] * batch)

    def infer(self, frames: Frames) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name, for uint8 ``[N, H, W, 3]`` RGB frames or a list of NV12.

        Raises:
            BackendError: The session is closed, or the model gave numbers that are not finite.
        """
        return self._graphs.infer(frames)

    def prepare(self, frame: Picture) -> Picture:
        """The input of the graph for a frame: the frame, or with ``fast_resize`` a smaller copy.

        NV12 is converted where there is no graph for it. The frame stays where no smaller one fits.

        Raises:
            ArgumentError: It is neither uint8 ``[H, W, 3]`` nor an `Nv12Picture`.
        """
        if isinstance(frame, Nv12Picture) and self.takes_nv12:
            return frame
        image = check_frame(rgb_of(frame))
        return self.shrunk(image) if self.fast_resize else image

    def shrunk(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame at the network's size, or the frame itself where the model takes no such size."""
        spec = self.manifest.input
        if not self.takes(spec.height, spec.width):
            return frame
        return shrink(frame, spec.height, spec.width)

    def run(
        self,
        frame: Picture,
        *,
        frame_id: int = 0,
        time: float = 0.0,
        captured_ns: int | None = None,
        view: FieldOfView | None = None,
    ) -> FrameResult:
        """Finds the instruments of one frame.

        Args:
            frame: ``[H, W, 3]`` uint8 RGB, or an `Nv12Picture`.
            frame_id: Number of the frame in its stream, from 0.
            time: Presentation time in seconds.
            captured_ns: `trocar.contract.media.clock.now_ns` at its capture; default: now.
            view: The endoscope's field of view; default: the full frame.

        Raises:
            ArgumentError: The frame is of another type or shape.
            BackendError: The backend failed.
        """
        started = now_ns()
        outputs = self.infer(batch_of([self.prepare(frame)]))
        inferred = now_ns()
        return self.result(
            {name: value[0] for name, value in outputs.items()},
            (frame.shape[0], frame.shape[1]),
            frame_id=frame_id,
            time=time,
            captured_ns=started if captured_ns is None else captured_ns,
            view=view,
            stages_ms={"infer": (inferred - started) / 1e6},
        )

    run_device = run_device

    def infer_device(self, frame: DeviceFrame) -> dict[str, Any]:
        """See `trocar.runtime.inference.Graphs.infer_device`."""
        return self._graphs.infer_device(frame)

    def result(
        self,
        outputs: Mapping[str, NDArray[Any]],
        frame_size: tuple[int, int],
        *,
        frame_id: int,
        time: float,
        captured_ns: int,
        view: FieldOfView | None = None,
        stages_ms: Mapping[str, float] | None = None,
        instruments: tuple[Instrument, ...] | None = None,
    ) -> FrameResult:
        """Makes a result of one frame's outputs; locates instruments if the model segments.

        Args:
            outputs: The graph's outputs by name, without the batch dimension.
            frame_size: ``(height, width)`` of the frame.
            frame_id: Number of the frame in its stream, from 0.
            time: Presentation time in seconds.
            captured_ns: `trocar.contract.media.clock.now_ns` at its capture.
            view: The endoscope's field of view; default: the full frame.
            stages_ms: Times of earlier stages in milliseconds, by name.
            instruments: Those of the frame, where they are located already.

        Raises:
            BackendError: A segmentation model gave no labels.
        """
        if self.options.mask_outside_view:
            outputs = outputs_in_view(outputs, frame_size, view)
        if instruments is None:
            check_labels(outputs, self.manifest, self.backend)
        started, model = now_ns(), self.manifest
        if instruments is None:
            instruments = locate_outputs(outputs, model, frame_size, self.options, view=view)
        ended = now_ns()
        return FrameResult(
            frame_id=frame_id,
            time=time,
            captured_ns=captured_ns,
            age_ms=(ended - captured_ns) / 1e6,
            frame_size=frame_size,
            labels=outputs.get("labels"),
            confidence=outputs.get("confidence"),
            instruments=instruments,
            instances=outputs.get("instances"),
            instance_count=int(outputs["count"]) if "instances" in outputs else None,
            scores=None if "labels" in outputs else outputs.get("scores"),
            embedding=outputs.get("embedding"),
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            stages_ms={**(stages_ms or {}), "locate": (ended - started) / 1e6},
        )

    def enroll(
        self,
        name: str,
        photos: Sequence[Path | NDArray[np.uint8]],
        *,
        replace_class: bool = False,
    ) -> Enrolled:
        """Adds a class from photographs to the bundle and to this session.

        Args:
            name: The class.
            photos: Files, or ``[H, W, 3]`` uint8 RGB images.
            replace_class: Whether a class of that name is replaced.

        Raises:
            BundleError: This is not a classifier bundle whose classes can be changed.
            DataError: See `trocar.runtime.enrolment.enroll`.
        """
        if self.bundle is None:
            raise BundleError(
                "a bare ONNX file cannot store classes", remedy="open the bundle's folder"
            )
        enrolled = enroll(self.bundle.path, name, photos, replace_class=replace_class)
        self._graphs.each(lambda backend: set_classes(backend, enrolled.bundle))
        self.bundle, self.manifest = enrolled.bundle, enrolled.bundle.manifest
        return enrolled

    def close(self) -> None:
        """Frees the model, as soon as no thread is in it; no frame is accepted afterwards."""
        self._graphs.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
