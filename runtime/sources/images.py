"""A folder of images as a source.

ImageFolder(Path("frames"), fps=25.0)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trocar.contract.errors import DataError, SourceError
from trocar.contract.media.clock import now_ns
from trocar.contract.media.pictures import IMAGE_SUFFIXES, decode_images, read_bytes
from trocar.contract.text.words import natural_key
from trocar.runtime.sources.base import Frame


class ImageFolder:
    """The images of a folder in the order of the numbers in their names, or one image file.

    A file that holds several images (TIFF pages, animations) gives all of them, in order.

    Args:
        path: A folder, or one image file.
        fps: Frames a second, for the frames' times.

    Raises:
        SourceError: The folder contains no images.
    """

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
            self._files.sort(key=natural_key)
        else:
            self._files = [path]
        if not self._files:
            raise SourceError(
                f"{path} contains no images",
                remedy=f"name a folder with {', '.join(sorted(IMAGE_SUFFIXES))} files, or a video",
            )
        self.total: int | None = len(self._files)
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """Reads one image after the other.

        Raises:
            SourceError: An image cannot be read; the message names it.
        """
        index = 0
        for file in self._files:
            started = now_ns()
            try:
                images = decode_images(read_bytes(file), source=str(file))
            except DataError as error:
                raise SourceError(error.message, remedy=error.remedy) from error
            for image in images:
                if self._closed:
                    return
                yield Frame(
                    image=image,
                    index=index,
                    time=index / (self.fps or 25.0),
                    captured_ns=started,
                    decode_ms=(now_ns() - started) / 1e6 / len(images),
                )
                index += 1

    def close(self) -> None:
        """Stops."""
        self._closed = True
