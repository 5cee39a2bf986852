"""What the model's thread gives to the model: frames in sizes and batches that the model takes.

inputs = ModelInput(session, max_batch=2)
inputs.warm_up(image, shed_load=True)
for part in inputs.split(batch): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from trocar.contract.media.nv12 import Picture, rgb_of
from trocar.runtime.session import Session

Item = TypeVar("Item")


class ModelInput:
    """Sizes and batches of one model; used by the model's thread alone.

    Args:
        session: The model.
        max_batch: Largest batch of frames that wait at once.

    Attributes:
        can_shrink: Whether the model takes frames of the network's size.
    """

    def __init__(self, session: Session, *, max_batch: int) -> None:
        self._session = session
        profile = session.profile
        self._max_batch = max_batch if profile is None else min(max_batch, profile.maximum[0])
        spec = session.manifest.input
        self.can_shrink = session.takes(spec.height, spec.width)
        self._warm: set[tuple[int, ...]] = set()

    def image(self, frame: Picture, *, shrink: bool) -> Picture:
        """The input for a frame; RGB and smaller only where it shrinks and the model takes that."""
        prepared = self._session.prepare(frame)
        return self._session.shrunk(rgb_of(prepared)) if shrink else prepared

    def split(self, batch: Sequence[Item]) -> list[list[Item]]:
        """A batch in parts of at most the model's largest batch."""
        size = self._max_batch
        return [list(batch[start : start + size]) for start in range(0, len(batch), size)]

    def warm_up(self, frame: Picture, *, shed_load: bool) -> None:
        """On a GPU: runs every shape that frames of this size may become, once for each size.

        Args:
            frame: A frame, RGB or NV12.
            shed_load: Whether frames may be shrunk later.
        """
        if self._session.device == "cpu" or frame.shape in self._warm:
            return
        self._warm.add(frame.shape)
        shapes = {self.image(frame, shrink=shrink).shape for shrink in {False, shed_load}}
        for height, width, _ in sorted(shapes):
            for batch in range(1, self._max_batch + 1):
                self._session.warm_up(batch, height, width)
