"""A bundle, opened, checked and warm: frames in, results out.

with Session.open("model.trocar") as session:
    for instrument in session.run(frame).instruments:
        print(instrument.class_name, instrument.tips)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import GOLDEN, Bundle, open_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.engines import engines_of, files_of_engine
from trocar.contract.errors import BackendError, BundleError
from trocar.contract.manifest import Manifest
from trocar.contract.results import FrameResult
from trocar.runtime.backends import Backend, open_backend
from trocar.runtime.frames import check_frame, shrink
from trocar.runtime.golden import golden_margin, replay
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import DEFAULTS, LocateOptions, locate

if TYPE_CHECKING:
    from trocar.runtime.enrolment.enroll import Enrolled


class Session:
    """One model on one device. `infer` may be called from several threads.

    Attributes:
        manifest: What the model is.
        golden: Whether the golden frame was replayed (a bare ``.onnx`` file has none).
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        *,
        bundle: Bundle | None = None,
        golden: bool = False,
        options: LocateOptions = DEFAULTS,
        fast_resize: bool = False,
    ) -> None:
        self._backend = backend
        self.manifest = manifest
        self.bundle = bundle
        self.golden = golden
        self.options = options
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
        options: LocateOptions = DEFAULTS,
        fast_resize: bool = False,
        **backend_options: Any,
    ) -> Session:
        """Opens a bundle (or a bare ``.onnx`` file that carries its manifest).

        Every hash is checked and the golden frame replayed, which warms the model up.

        Args:
            path: The bundle's folder.
            device: ``cpu``, ``cuda`` or ``cuda:N``: exactly this one, or an error.
            backend: One of `trocar.runtime.backends.BACKENDS`.
            precision: What the arithmetic must be; default: the bundle's.
            threads: CPU threads; default: one for each usable core.
            options: What counts as an instrument.
            fast_resize: Shrink frames with OpenCV before the graph; faster on a CPU, not quite
                equal (see `trocar.runtime.frames.shrink`).
            backend_options: The backend's own, e.g. ``spinning=False``.

        Raises:
            BundleError: No bundle, or not whole; `IntegrityError`, `VersionError` likewise.
            BackendError: Device, backend or precision is not to be had.
            ParityError: The golden frame comes out different.
        """
        asked: dict[str, Any] = {"device": device, "precision": precision, "threads": threads}
        file = Path(path)
        if file.suffix == ".onnx" and file.is_file():
            opened = open_backend(backend, file, None, **asked, **backend_options)
            held = getattr(opened, "manifest", None)
            if held is None:
                raise BundleError(
                    f"{file} carries no Trocar manifest", remedy="name a bundle, or export it"
                )
            session = cls(opened, held, options=options, fast_resize=fast_resize)
            session.infer(np.zeros((1, held.input.height, held.input.width, 3), np.uint8))
            return session
        bundle = open_bundle(file)
        model, golden, batch = bundle.model, GOLDEN, 1
        if backend.startswith("tensorrt"):
            from trocar.runtime.backends.engine_selection import find_engine

            name = find_engine(bundle, flavour=backend, device=device, precision=precision)
            model = bundle.path / name
            # An engine may take one frame size only: it has a golden frame of that size.
            own = files_of_engine(name)[2]
            golden = own if own in bundle.manifest.files else GOLDEN
            batch = engines_of(bundle)[name].profile.minimum[0]
        opened = open_backend(backend, model, bundle.manifest, **asked, **backend_options)
        try:
            margin = golden_margin(bundle.manifest, opened.precision)
            replay(opened, bundle.manifest, bundle.read(golden), margin=margin, batch=batch)
            if bundle.manifest.task == "classification":
                from trocar.runtime.enrolment.enroll import set_classes

                set_classes(opened, bundle)
        except BaseException:
            opened.close()
            raise
        return cls(
            opened,
            bundle.manifest,
            bundle=bundle,
            golden=True,
            options=options,
            fast_resize=fast_resize,
        )

    @property
    def classes(self) -> ClassTable:
        """The class table."""
        return self.manifest.classes

    @property
    def backend(self) -> str:
        """What runs it."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Where it runs."""
        return self._backend.device

    @property
    def precision(self) -> str:
        """What the arithmetic is."""
        return self._backend.precision

    def infer(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The graph's outputs for uint8 ``[N, H, W, 3]`` RGB frames, by name."""
        return self._backend.infer(frames)

    def prepare(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is handed to the graph for a frame: the frame, or a shrunken one."""
        frame = check_frame(frame)
        if not self.fast_resize:
            return frame
        return shrink(frame, self.manifest.input.height, self.manifest.input.width)

    def run(
        self,
        frame: NDArray[np.uint8],
        *,
        frame_id: int = 0,
        time: float = 0.0,
        captured_ns: int | None = None,
        view: FieldOfView | None = None,
    ) -> FrameResult:
        """Finds the instruments of one frame.

        Args:
            frame: ``[H, W, 3]`` uint8 RGB.
            frame_id: Number of the frame.
            time: Presentation time in seconds.
            captured_ns: `time.monotonic_ns` of its capture; default: now.
            view: The endoscope's round picture, where it is known.

        Raises:
            ArgumentError: The frame is of another type or shape.
            BackendError: The backend failed.
        """
        started = monotonic_ns()
        outputs = self.infer(self.prepare(frame)[None])
        inferred = monotonic_ns()
        return self.result(
            {name: value[0] for name, value in outputs.items()},
            (frame.shape[0], frame.shape[1]),
            frame_id=frame_id,
            time=time,
            captured_ns=started if captured_ns is None else captured_ns,
            view=view,
            stages_ms={"infer": (inferred - started) / 1e6},
        )

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
    ) -> FrameResult:
        """Makes a result of one frame's outputs: locates instruments where it segments."""
        labels = outputs.get("labels")
        confidence = outputs.get("confidence")
        if self.manifest.task == "segmentation" and labels is None:
            raise BackendError(
                f"{self.backend} gave {', '.join(outputs)}, expected labels",
                remedy="export the bundle again",
            )
        started = monotonic_ns()
        instruments = (
            ()
            if labels is None
            else locate(labels, confidence, self.classes, frame_size, self.options, view=view)
        )
        ended = monotonic_ns()
        return FrameResult(
            frame_id=frame_id,
            time=time,
            captured_ns=captured_ns,
            age_ms=(ended - captured_ns) / 1e6,
            frame_size=frame_size,
            labels=labels,
            confidence=confidence,
            instruments=instruments,
            scores=outputs.get("scores"),
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
            photos: Files, or ``[H, W, 3]`` uint8 RGB pictures.
            replace_class: Take the place of a class of that name.

        Raises:
            BundleError: This is no classifier bundle whose classes can be changed.
            DataError: See `trocar.runtime.enrolment.enroll`.
        """
        from trocar.runtime.enrolment.enroll import enroll, set_classes

        if self.bundle is None:
            raise BundleError(
                "a bare ONNX file has no place for classes", remedy="open the bundle's folder"
            )
        done = enroll(self.bundle.path, name, photos, replace_class=replace_class)
        set_classes(self._backend, done.bundle)
        self.bundle, self.manifest = done.bundle, done.bundle.manifest
        return done

    def close(self) -> None:
        """Gives the model back."""
        self._backend.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


monotonic_ns = time.monotonic_ns
