"""Opens the graph of a bundle that takes NV12, and replays its own golden frame.

    backend = open_nv12(bundle, open_model)      # None where the bundle has no such graph

The golden frame's planes are also converted to RGB, and must give the exporter's bytes: a runtime
that converts colours in another way is found when the bundle is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import Bundle
from trocar.contract.errors import ArgumentError, BundleError, ParityError
from trocar.contract.manifest import NV12_GOLDEN, NV12_MODEL
from trocar.contract.media.nv12 import COLOURS, Nv12Picture, nv12_inputs
from trocar.runtime.backends import Backend, TakesNamedInputs
from trocar.runtime.enrolment.enroll import set_classes
from trocar.runtime.golden import golden_margin, read_golden, replay
from trocar.runtime.inference import infer_nv12
from trocar.runtime.opening import OpenModel


def open_nv12(bundle: Bundle, open_model: OpenModel) -> Backend | None:
    """Opens the graph for NV12 and replays its golden frame.

    Args:
        bundle: The bundle.
        open_model: Opens a model.

    Returns:
        ``None`` where the bundle has no such graph, or the backend runs graphs of one input only.

    Raises:
        BundleError: Its golden frame is missing or malformed.
        ParityError: Its result differs, or the planes are converted in another way.
    """
    if not bundle.manifest.takes_nv12:
        return None
    data = bundle.read(NV12_MODEL)
    backend = open_model(bundle.path / NV12_MODEL, bundle.manifest, data)
    if not isinstance(backend, TakesNamedInputs):
        backend.close()
        return None
    try:
        content = bundle.read(NV12_GOLDEN)
        picture = golden_picture(content, bundle.manifest.task)
        inputs = nv12_inputs([picture])

        def infer(frames: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
            return infer_nv12(backend, inputs)

        margin = golden_margin(bundle.manifest, backend.precision)
        replay(backend, bundle.manifest, content, margin=margin, infer=infer)
        set_classes(backend, bundle)
    except BaseException:
        backend.close()
        raise
    return backend


def golden_picture(data: bytes, task: str) -> Nv12Picture:
    """The golden frame of ``nv12.npz`` as planes.

    Raises:
        BundleError: They are missing or of the wrong type or shape.
        ParityError: They do not give the RGB frame beside them.
    """
    golden = read_golden(data, task)
    colour = golden.get("colour")
    try:
        if colour is None or colour.dtype != np.uint8 or colour.shape != (1,):
            raise ArgumentError("it states no colour", remedy="")
        if colour[0] >= len(COLOURS):
            raise ArgumentError(f"its colour is {colour[0]}", remedy="")
        picture = Nv12Picture(
            luma=golden.get("luma", np.zeros(0, np.uint8)),
            chroma=golden.get("chroma", np.zeros(0, np.uint8)),
            colour=COLOURS[colour[0]],
        )
    except ArgumentError as error:
        raise BundleError(
            f"{NV12_GOLDEN} holds no NV12 frame: {error.message}", remedy="export the bundle again"
        ) from error
    if not np.array_equal(picture.rgb, golden["frame"]):
        raise ParityError(
            f"the planes of {NV12_GOLDEN} are converted to other colours than by the exporter",
            remedy="export the bundle again with this release",
        )
    return picture
