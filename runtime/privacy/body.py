"""Judges whether a picture was taken inside the body: a classifier, and doubt counts as outside.

    with open_body_classifier("body.trocar", certainty=0.9) as body:
        verdict = body.judge(image)

The bundle is one that ``trocar train classifier`` makes from two or more folders of pictures. One
of them is named ``inside``; every other class is outside.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError
from trocar.contract.text.words import first_line
from trocar.runtime.frames import check_frame, shrink
from trocar.runtime.pipeline.crop_classifier import DecisionRule
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Verdict

INSIDE = "inside"
"""Name of the class of pictures from inside the body."""

OUTSIDE = "the camera seems to be outside the body"
UNSURE = "the out-of-body model is not sure: the picture counts as outside the body"
FAILED = "the out-of-body model fails: the picture counts as outside the body"


class BodyClassifier:
    """A classifier of whole pictures. Several threads may call it.

    Args:
        session: An open classifier with a class `INSIDE` and at least one other.
        certainty: Least softmax of `INSIDE`, 0..1.

    Raises:
        BundleError: The session is not such a classifier.
    """

    def __init__(self, session: Session, *, certainty: float = 0.9) -> None:
        manifest = session.manifest
        names = manifest.classes.names
        if manifest.task != "classification" or INSIDE not in names or len(names) < 2:
            raise BundleError(
                f"{manifest.name} is a {manifest.task} model with the classes {', '.join(names)}; "
                f"an out-of-body model is a classifier with the class {INSIDE!r} and another one",
                remedy="train it with `trocar train classifier PHOTOS`, where PHOTOS holds the "
                "folders inside and outside",
            )
        self._session = session
        self._rule = DecisionRule.from_manifest(manifest)
        self._certainty = certainty

    def judge(self, image: NDArray[np.uint8]) -> Verdict:
        """Judges one picture; never raises: a model that fails has seen a picture from outside.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
        """
        try:
            spec = self._session.manifest.input
            small = shrink(check_frame(image), spec.height, spec.width)
            scores = np.asarray(self._session.infer(small[None])["scores"][0], np.float32)
            named = self._rule(scores)
        except Exception as error:
            return Verdict(outside=True, failed=True, reason=f"{FAILED} ({first_line(error)})")
        if named.name == INSIDE and named.score >= self._certainty:
            return Verdict(outside=False)
        is_unsure = named.name not in self._rule.names or named.name == INSIDE
        return Verdict(outside=True, reason=UNSURE if is_unsure else OUTSIDE)

    def close(self) -> None:
        """Frees the model."""
        self._session.close()

    def __enter__(self) -> BodyClassifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_body_classifier(
    path: str | Path,
    *,
    device: str = "cpu",
    certainty: float = 0.9,
    trust: Path | None = None,
) -> BodyClassifier:
    """Opens an out-of-body model; it uses one CPU thread.

    Args:
        path: The bundle.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        certainty: Least certainty of `INSIDE`, 0..1.
        trust: What must have signed the bundle, see `Session.open`.

    Raises:
        BundleError: It is not a bundle, or not a classifier with a class `INSIDE`.
        BackendError: The device is not available.
    """
    # It takes small pictures of RGB: a graph for NV12 would be opened for nothing.
    session = Session.open(path, device=device, threads=1, spinning=False, trust=trust, nv12=False)
    try:
        return BodyClassifier(session, certainty=certainty)
    except BaseException:
        session.close()
        raise
