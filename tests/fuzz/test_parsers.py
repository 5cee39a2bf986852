"""Files from outside, changed at random: they are read, or refused by an error with their name."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import parser_targets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trocar.contract.class_store import ClassStore
from trocar.contract.errors import BundleError, DataError, TrocarError
from trocar.contract.media.pictures import read_image
from trocar.runtime.golden import read_golden
from trocar.train.data.io.images import read_raw_mask

TARGETS = parser_targets.targets()
EXAMPLES = 12


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each parser, with what lies around its file."""
    folders = {}
    for name, target in TARGETS.items():
        folders[name] = tmp_path_factory.mktemp("target")
        target.prepare(folders[name])
    return folders


@pytest.mark.parametrize("name", TARGETS)
def test_the_good_file_is_read_without_a_fault(name: str, prepared: dict[str, Path]) -> None:
    target, root = TARGETS[name], prepared[name]
    for seed in target.seeds:
        (root / target.file).parent.mkdir(parents=True, exist_ok=True)
        (root / target.file).write_bytes(seed)
        found = target.run(root)
        assert not found or not isinstance(found, list), found


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_named(name: str, prepared: dict[str, Path]) -> None:
    target, root = TARGETS[name], prepared[name]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**32))
    def changed(number: int) -> None:
        chance = random.Random(number)
        data = parser_targets.mutated(chance.choice(target.seeds), chance)
        assert not parser_targets.complaint(target, root, data), (number, data[:2000])

    changed()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe" * 9, parser_targets.DEEP, b"{}", b"[]"])
def test_what_is_no_such_file_is_named(name: str, data: bytes, prepared: dict[str, Path]) -> None:
    assert not parser_targets.complaint(TARGETS[name], prepared[name], data)


def broken(value: object, **change: object) -> bytes:
    """JSON of a document, with some of its values replaced."""
    document = json.loads(json.dumps(value))
    for path, new in change.items():
        place, *keys = [document, *path.split("__")]
        for key in keys[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(keys[-1]) if isinstance(place, list) else keys[-1]] = new
    return json.dumps(document).encode()


WRONG_TYPES = {
    "1.9 is no id": ("COCO", broken(parser_targets.COCO, images__0__id=1.9)),
    "true is no category": ("COCO", broken(parser_targets.COCO, annotations__0__category_id=True)),
    "NaN is no height": ("COCO", broken(parser_targets.COCO, images__0__height=float("nan"))),
    "infinity is no width": ("COCO", broken(parser_targets.COCO, images__0__width=float("inf"))),
    "400 digits": ("COCO", broken(parser_targets.COCO, images__0__height=10**400)),
    "1e999": ("COCO", broken(parser_targets.COCO).replace(b"[[2, 2", b"[[1e999, 2")),
    "half a run": ("COCO", broken(parser_targets.COCO_RLE, annotations__0__segmentation__counts=[
        100.5, 50, 713.5])),
    "a size beyond memory": ("COCO", broken(parser_targets.COCO, images__0__height=10**9)),
    "a size of LabelMe beyond memory": ("LabelMe", broken(
        parser_targets.LABELME, imageHeight=10**9, imageWidth=10**9)),
    "1.9 is no group": ("LabelMe", broken(parser_targets.LABELME, shapes__0__group_id=1.9)),
    "400 digits in points": ("LabelMe", broken(parser_targets.LABELME, shapes__0__points=[
        [10**400, 1], [2, 2], [3, 1]])),
    "a size of CVAT beyond memory": ("CVAT", parser_targets.CVAT.replace(
        b'width="36"', b'width="999999999"')),
    "an encoding that nobody knows": ("CVAT", parser_targets.CVAT.replace(b"utf-8", b"utf-6")),
    "text is no flag": ("class table", b'[[classes]]\nid = 0\nname = "b"\ninstrument = "false"\n'),
    "1.9 is no colour": ("class table", b'[[classes]]\nid = 0\nname = "b"\ncolour = [1.9, 0, 0]\n'),
    "true is no grey": ("class table", b'[[classes]]\nid = 0\nname = "b"\ngrey = true\n'),
    "5000 digits": ("class table", b"[[classes]]\nid = " + b"9" * 5000),
    "text is no switch": ("dataset.toml", b'nearest = "false"\n'),
    "1.9 steps": ("recipe", b"steps = 1.9\n"),
    "text is no switch of a recipe": ("recipe", b"channels_last = 2\n"),
    "NaN is no rate": ("recipe", b"lr = nan\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_values_of_another_type_are_refused(case: str, prepared: dict[str, Path]) -> None:
    name, data = WRONG_TYPES[case]
    target, root = TARGETS[name], prepared[name]
    (root / target.file).write_bytes(data)
    with pytest.raises(TrocarError) as error:
        target.run(root)
    assert Path(target.file).name in str(error.value)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header states a size, with a row of data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + data))
        made += struct.pack(">I", len(data)) + kind + data + check
    return made


JPEG = parser_targets.TARGET_JPEG
BOMBS = {
    "bomb.png": (png_of(30_000, 30_000), "states 30000x30000 pixels"),
    "thin.png": (png_of(8_000, 8_000), "bytes cannot hold them"),
    "bomb.jpg": (JPEG.replace(struct.pack(">HH", 24, 36), b"\xff\xff\xff\xff"), "states 65535x"),
    "bomb.bmp": (b"BM" + bytes(16) + struct.pack("<ii", -(2**31), 9_999) + bytes(28), "states 214"),
    "bomb.tif": (b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 256, 4, 1, 99_999)
                 + struct.pack("<HHII", 257, 4, 1, 99_999) + bytes(4), "states 99999x99999"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_stated_sizes_are_looked_at_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    data, words = BOMBS[name]
    (tmp_path / name).write_bytes(data)
    tracemalloc.start()
    try:
        for read in (read_image, read_raw_mask):
            with pytest.raises(DataError, match=words) as error:
                read(tmp_path / name)
            assert name in error.value.message
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_arrays_of_a_stated_size_beyond_memory_are_refused() -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,), }"
    array = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header) + 1) + header + b"\n"
    for name, read in (("frame", lambda data: read_golden(data, "segmentation")),
                       ("about", lambda data: ClassStore.from_bytes(data))):  # fmt: skip
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{name}.npy", array)
        with pytest.raises(BundleError):
            read(packed.getvalue())
