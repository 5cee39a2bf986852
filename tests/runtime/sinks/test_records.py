"""Folders of PNG files, published atomically; compressed JSON lines."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.contract.errors import OutputExistsError
from trocar.contract.outputs import MARKER
from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.records import Csv, JsonLines, PngFolder
from trocar.runtime.sources.base import Frame

INFO = StreamInfo(name="clip", size=(8, 12), fps=25.0)


def event(index: int) -> FrameEvent:
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = np.full((8, 12, 3), 100, np.uint8)
    return FrameEvent(
        frame=Frame(image=image, index=index, time=0.0, captured_ns=0),
        result=FrameResult(
            frame_id=index, time=0.0, captured_ns=0, age_ms=0.0, frame_size=(8, 12), labels=labels
        ),
        painter=Painter(ClassTable.from_names(["background", "grasper", "scissors"])),
    )


def test_masks_are_enlarged_by_nearest_neighbour_and_appear_at_commit(tmp_path: Path) -> None:
    sink = PngFolder(tmp_path / "masks", masks=True)
    assert not sink.wants_every_frame
    sink.open(INFO)
    sink.write(event(7))
    sink.close()
    assert not (tmp_path / "masks").exists()
    sink.commit()
    mask = cv2.imread(str(tmp_path / "masks" / "000007.png"), cv2.IMREAD_UNCHANGED)
    expected = np.repeat(np.repeat([[0, 1, 2], [2, 1, 0]], 4, axis=0), 4, axis=1)
    assert np.array_equal(mask, expected)


def test_overlays_are_rgb_and_a_discarded_folder_is_removed(tmp_path: Path) -> None:
    sink = PngFolder(tmp_path / "frames")
    assert sink.wants_every_frame
    sink.open(INFO)
    given = event(0)
    sink.write(given)
    (written,) = next(tmp_path.glob(".frames.part.*")).glob("*.png")
    stored = cv2.imread(str(written), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(stored, given.overlay())
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def written(folder: Path, index: int, *, overwrite: bool) -> None:
    sink = PngFolder(folder, overwrite=overwrite)
    sink.open(INFO)
    sink.write(event(index))
    sink.commit()
    sink.settle()


def test_a_folder_is_replaced_only_when_told_and_only_if_trocar_wrote_it(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    written(folder, 3, overwrite=False)
    with pytest.raises(OutputExistsError, match="not empty"):
        written(folder, 0, overwrite=False)
    written(folder, 0, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "000000.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    (folder / "mine.txt").touch()
    with pytest.raises(OutputExistsError, match=r"did not write: mine\.txt"):
        written(folder, 0, overwrite=True)
    (folder / MARKER).unlink()
    with pytest.raises(OutputExistsError, match="Trocar did not write it"):
        written(folder, 0, overwrite=True)
    assert (folder / "mine.txt").exists()


def test_json_lines_are_compressed_by_their_name(tmp_path: Path) -> None:
    plain, packed = tmp_path / "out.jsonl", tmp_path / "out.jsonl.gz"
    for path in (plain, packed, tmp_path / "again.jsonl.gz"):
        sink = JsonLines(path)
        sink.open(INFO)
        for index in range(40):
            sink.write(event(index))
        sink.close()
        assert not path.exists()
        sink.commit()
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.stat().st_size < plain.stat().st_size / 5
    assert packed.read_bytes() == (tmp_path / "again.jsonl.gz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_compressed_live_file_holds_every_line_at_once(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "out.jsonl.gz", live=True)
    sink.open(INFO)
    for index in range(3):
        sink.write(event(index))
        data = (tmp_path / "out.jsonl.partial.gz").read_bytes()
        lines = zlib.decompressobj(wbits=31).decompress(data).splitlines()
        assert [json.loads(line)["frame"] for line in lines] == list(range(index + 1))
    sink.discard()
    assert (tmp_path / "out.jsonl.partial.gz").exists()


def test_a_discarded_compressed_table_is_removed(tmp_path: Path) -> None:
    sink = Csv(tmp_path / "out.csv.gz")
    sink.open(INFO)
    sink.discard()
    assert list(tmp_path.iterdir()) == []
