"""A set larger than the memory a process may have trains; a cache that large does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import write_picture

FRAMES, SIDE, MEGABYTES = 60, 1024, 160  # 60 frames take 240 MB decoded

PROGRAM = """
import resource, sys
from pathlib import Path
import cv2, torch
from torch import nn
from trocar.train.data.readers import open_frames
from trocar.train.data.loader.batch_stream import Stream, StreamSpec
from trocar.train.data.transforms import NO_AUGMENT, Augment

cv2.setNumThreads(0)
torch.set_num_threads(1)
network = nn.Conv2d(3, 2, 1)
optimiser = torch.optim.SGD(network.parameters(), lr=1e-6)

def train(stream, steps):
    for batch in stream.batches(stop=steps):
        loss = nn.functional.cross_entropy(network(batch["image"]), batch["mask"], ignore_index=255)
        optimiser.zero_grad(); loss.backward(); optimiser.step()

frames = open_frames(Path(sys.argv[1]))
spec = dict(frames=frames, augment=Augment(NO_AUGMENT, (32, 32)), batch_size=4)
train(Stream(StreamSpec(**spec), seed=0), 1)  # what is loaded on first use is loaded
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = size + int(sys.argv[3]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
stream = Stream(StreamSpec(**spec, cache_mb=int(sys.argv[2])), seed=0)
train(stream, 2 * len(stream))
print("epochs", 2, "kept", len(stream.cache), "of", len(frames))
"""


@pytest.fixture(scope="module")
def large_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    for i in range(FRAMES):
        write_picture(root / "images" / f"{i}.png", np.full((SIDE, SIDE, 3), 4 * i, np.uint8))
        write_picture(root / "masks" / f"{i}.png", np.full((SIDE, SIDE), i % 2, np.uint8))
    ClassTable.from_names(["background", "grasper"]).write(root / "classes.toml")
    return root


def train(root: Path, *, cache: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(root), str(cache), str(MEGABYTES)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_set_larger_than_memory_trains_with_a_bounded_cache(large_set: Path) -> None:
    done = train(large_set, cache=40)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["epochs", "2", "kept", "10", "of", "60"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_the_limit_is_one(large_set: Path) -> None:
    done = train(large_set, cache=300)
    assert done.returncode != 0
    assert "memory" in done.stderr.lower()
