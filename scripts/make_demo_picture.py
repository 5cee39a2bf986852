"""Makes the looping picture of the README from the overlay video of `trocar demo`.

python scripts/make_demo_picture.py demo/overlay.mp4 docs/assets/demo.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
from PIL import Image

WIDTH = 480
FRAMES = 60
EVERY = 2
MAX_BYTES = 3_000_000


def make_picture(video: Path, out: Path) -> int:
    """Writes every second frame of the first 120 as an animated WebP; gives its size in bytes."""
    images = []
    with av.open(str(video)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
        for i, frame in enumerate(container.decode(video=0)):
            if i % EVERY == 0:
                image = frame.to_image()
                height = round(WIDTH * image.height / image.width)
                images.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))
            if len(images) == FRAMES:
                break
    images[0].save(
        out,
        save_all=True,
        append_images=images[1:],
        duration=round(1000 * EVERY / rate),
        loop=0,
        quality=60,
        method=6,
    )
    size = out.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{out} has {size} bytes, at most {MAX_BYTES} are wanted: lower FRAMES")
    return size


if __name__ == "__main__":
    print(make_picture(Path(sys.argv[1]), Path(sys.argv[2])), "bytes")
