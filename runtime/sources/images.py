"""A folder of pictures as a source.

ImageFolder(Path("frames"), fps=25.0)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import SourceError
from trocar.runtime.sources.base import IMAGE_SUFFIXES, Frame


class ImageFolder:
    """The images of a folder in the order of their names, or one image."""

    live = False

    def __init__(self, path: Path, *, fps: float = 25.0) -> None:
        self.name = str(path)
        self.fps: float | None = fps
        if path.is_dir():
            self._files = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            )
        else:
            self._files = [path]
        if not self._files:
            raise SourceError(
                f"{path} holds no images",
                remedy=f"name a folder with {', '.join(sorted(IMAGE_SUFFIXES))} files, or a video",
            )
        self.total: int | None = len(self._files)
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """Reads one image after the other.

        Raises:
            SourceError: An image cannot be read; names it.
        """
        for index, file in enumerate(self._files):
            if self._closed:
                return
            started = monotonic_ns()
            image = read_image(file)
            yield Frame(
                image=image,
                index=index,
                time=index / (self.fps or 25.0),
                captured_ns=started,
                decode_ms=(monotonic_ns() - started) / 1e6,
            )

    def close(self) -> None:
        """Stops."""
        self._closed = True


def read_image(file: Path) -> NDArray[np.uint8]:
    """Reads an image as ``[H, W, 3]`` uint8 RGB, turned as its EXIF data say.

    Raises:
        SourceError: It is missing or no image.
    """
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error}", remedy="check the path") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise SourceError(
            f"{file} is no image that can be read", remedy="replace it or take it out of the folder"
        )
    rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb
