"""Instance maps: read where a set has them, checked, and kept by an import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import layouts
import numpy as np
import pytest
from data_helpers import image_and_mask_folder

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data.combine import combine
from trocar.train.data.phantom import PhantomConfig, write_phantom
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.tools.check import check_frames
from trocar.train.data.tools.convert import import_frames


def phantom(root: Path) -> Path:
    write_phantom(root, PhantomConfig(frames=4, size=(64, 96), instruments=(2, 3)))
    return root


SETS: dict[str, tuple[Callable[[Path], Path], str, int, list[int]]] = {
    # writer, task, frame, pixels that have an instance number, by number
    "phantom": (phantom, "", 0, []),
    "EndoVis 2015 rigid": (layouts.endovis2015_rigid, "parts", 0, [20, 40]),
    "EndoVis 2017": (layouts.endovis2017, "type", 0, [1, 2, 3]),
    "CholecInstanceSeg": (layouts.cholec_instance_seg, "type", 0, [1, 2]),
    "Robust-MIS 2019": (layouts.robust_mis, "binary", 0, [1, 2]),
}


def numbers_of(frames: FrameSet, place: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    sample = frames.read(frames.items[place])
    assert sample.mask is not None
    found = frames.instance_map(frames.items[place], sample.image.shape[:2])
    assert found is not None
    # Where the map says none, there is no instrument, but for what another map draws finer.
    assert (found > 0)[sample.mask > 0].mean() > 0.5
    return found.astype(np.int64)


@pytest.mark.parametrize("name", SETS)
def test_instances_are_read_and_kept_by_an_import(name: str, tmp_path: Path) -> None:
    write, task, place, expected = SETS[name]
    frames = open_frames(write(tmp_path / "set"), task=task)
    found = numbers_of(frames, place)
    values = np.unique(found[found > 0]).tolist()
    assert not expected or values == expected
    assert check_frames(tmp_path / "set", task=task).faults == ()
    import_frames(frames, tmp_path / "made", workers=1)
    made = open_frames(tmp_path / "made")
    source = frames.items[place]
    copy = next(i for i in made if i.name.endswith(source.name.replace("/", "__")))
    again = numbers_of(made.only([copy.name]), 0)
    # Numbered from 1 in each frame, in the same order.
    assert np.array_equal(again, np.searchsorted([0, *values], found))


def test_parts_of_one_cholec_instance_share_a_number(tmp_path: Path) -> None:
    found = numbers_of(open_frames(layouts.cholec_instance_seg(tmp_path)), 0)
    assert found[20, 20] == found[45, 60] != found[1, 3]


def test_two_sets_have_instances_together_or_not_at_all(tmp_path: Path) -> None:
    one = open_frames(layouts.robust_mis(tmp_path / "a"))
    other = open_frames(layouts.kvasir_instrument(tmp_path / "b"))
    assert other.instances is None
    assert other.instance_map(other.items[0], (50, 60)) is None
    both = combine([one, one], table=one.table, root=tmp_path)
    assert np.array_equal(numbers_of(both, 5), numbers_of(one, 1))
    assert combine([one, other], table=one.table, root=tmp_path).instances is None


def test_faulty_instance_maps_are_named(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    for i in range(4):
        write_picture(root / "instances" / f"f{i}.png", np.zeros((24, 32), np.uint8))
    assert open_frames(root).instances is not None
    write_picture(root / "instances" / "f2.png", np.zeros((12, 32), np.uint8))
    faults = check_frames(root).faults
    assert [fault.file.name for fault in faults] == ["f2.png"]
    assert "32x12" in faults[0].text
    (root / "instances" / "f2.png").unlink()
    with pytest.raises(DataError, match=r"1 fault\n.*f2\.png: has no instance map"):
        open_frames(root)
