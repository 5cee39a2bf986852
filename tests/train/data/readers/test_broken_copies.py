"""Broken copies of every set: an error names the first faults and their number."""

from __future__ import annotations

import shutil
from pathlib import Path

import layouts
import pytest
from data_helpers import image_and_mask_folder

from trocar.contract.errors import DataError
from trocar.train.data.readers import READERS, open_frames
from trocar.train.data.tools.check import check_frames

BREAKS: dict[str, tuple[str, str]] = {
    # layout: what is removed, what the error names
    "EndoVis 2015 rigid": ("**/OP1/Masks/img_0[12]_class.png", r"2 faults\n.*img_01_raw\.png"),
    "EndoVis 2015 robotic": ("**/Right_Instrument_Segmentation.avi", r"1 fault\n.*Right_Inst"),
    "EndoVis 2017": ("**/Other_labels/frame001.png", r"2 faults\n.*Other_labels.frame001\.png"),
    "EndoVis 2018": ("**/seq_1/labels/frame00?.png", r"2 faults\n.*seq_1.*frame000\.png: has no"),
    "CholecSeg8k": ("video01/**/*_watershed_mask.png", r"4 faults\n.*frame_80_endo\.png: has no"),
    "Kvasir-Instrument": ("**/masks/ckcu[01].png", r"4 faults\n.*ckcu0\.jpg: has no mask"),
    "UW-Sinus": ("live/labels/*.png", r"4 faults\n.*L01_0000\.jpg: has no label"),
    "Cholec80": ("videos/video41.mp4", r"1 fault\n.*video41\.mp4: is missing"),
    "CholecInstanceSeg": ("val/**/*.json", r"2 faults\n.*VID07_000000\.png: has no ann_dir"),
    "Robust-MIS 2019": ("**/instrument_instances.png", r"4 faults\n.*instances\.png: is missing"),
    "YOLO boxes": ("valid/labels/*.txt", r"2 faults\n.*a0\.jpg: has no boxes"),
    "YOLO polygons": ("images/val/a0.png", r"1 fault\n.*a0\.txt: are the polygons of no image"),
    "SAR-RARP50": ("train1/**/segmentation/*.png", r"2 faults\n.*000000000\.png: has no mask"),
    "class folders": ("test/scissors/*.png", r"1 fault\n.*scissors: holds no image"),
    "Pascal VOC masks": ("SegmentationClass/a[01].png", r"2 faults\n.*a0\.jpg: has no mask"),
    "nnU-Net": ("labelsTr/c_1.png", r"1 fault\n.*c_1_0000\.png: has no label labelsTr/c_1"),
    "MMSegmentation": ("ann_dir/val/*.png", r"3 faults\n.*a0\.jpg: has no mask val/a0"),
    "Cityscapes names": ("gtFine/val/**/*labelIds.png", r"2 faults\n.*leftImg8bit\.png: has no m"),
    "Supervisely": ("val/ann/a0.png.json", r"1 fault\n.*a0\.png: has no ann.a0\.png\.json"),
    "COCO": ("valid/a1.jpg", r"1 fault\n.*a1\.jpg: is missing"),
    "Endoscapes": ("semseg/4_*.png", r"2 faults\n.*4_21725\.jpg: has no mask semseg"),
    "AutoLaparo": ("masks/00001.png", r"1 fault\n.*00001\.jpg: has no mask masks"),
    "EndoVis 2018 types": ("val/images/*000.png", r"1 fault\n.*inst0\.png: is the mask of no pic"),
    "Dresden Surgical Anatomy Dataset": ("colon/03/mask*.png", r"2 faults\n.*image00\.png: has no"),
    "image-and-mask folder": ("masks/f[02].png", r"4 faults\n.*f0\.png: has no mask"),
}


@pytest.mark.parametrize("name", layouts.EVERY)
def test_missing_masks_are_counted_and_named(
    name: str, made: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(made[name], root)
    pattern, words = BREAKS[name]
    gone = list(root.glob(pattern))
    assert gone
    for path in gone:
        path.unlink()
    with pytest.raises(DataError, match=words) as error:
        open_frames(root)
    assert "trocar data check" in error.value.remedy
    assert len(check_frames(root).faults) >= 1


RENAMES = {
    "EndoVis 2015 rigid": ("Raw", "raw frames"),
    "EndoVis 2015 robotic": ("Video.avi", "clip.avi"),
    "EndoVis 2017": ("left_frames", "left"),
    "EndoVis 2018": ("labels", "masks"),
    "CholecSeg8k": ("video01", "first"),
    "Kvasir-Instrument": ("masks", "mask"),
    "UW-Sinus": ("labels", "label"),
    "Cholec80": ("videos", "video"),
    "CholecInstanceSeg": ("ann_dir", "annotations"),
    "Robust-MIS 2019": ("raw.png", "frame.png"),
    "YOLO boxes": ("labels", "label"),
    "YOLO polygons": ("labels", "label"),
    "SAR-RARP50": ("segmentation", "masks"),
    "class folders": ("test", "tests"),
    "Pascal VOC masks": ("SegmentationClass", "Segmentation classes"),
    "nnU-Net": ("labelsTr", "labels"),
    "MMSegmentation": ("img_dir", "image_dir"),
    "Cityscapes names": ("gtFine", "gt"),
    "Supervisely": ("ann", "annotations"),
    "COCO": ("a0.jpg", "b0.jpg"),
    "Endoscapes": ("val_seg", "validation_seg"),
    "AutoLaparo": ("00001.png", "one.png"),
    "EndoVis 2018 types": ("images", "frames"),
    "Dresden Surgical Anatomy Dataset": ("mask00.png", "truth00.png"),
    "image-and-mask folder": ("masks", "labels"),
}


@pytest.mark.parametrize("name", RENAMES)
def test_a_renamed_folder_is_named(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(made[name], root)
    old, new = RENAMES[name]
    found = sorted(root.rglob(old), reverse=True)
    assert found
    for path in found:
        path.rename(path.with_name(new))
    with pytest.raises(DataError, match=rf"\d+ faults?\n.*({old}|{new})") as error:
        open_frames(root)
    assert error.value.message.count("\n") <= 6


STRAYS = {
    # one of several folders of equal standing gets another name
    "EndoVis 2015 rigid": ("OP4", "OP four"),
    "EndoVis 2015 robotic": ("Dataset2", "Data 2"),
    "EndoVis 2017": ("instrument_dataset_7", "instruments_7"),
    "EndoVis 2018": ("seq_5", "sequence 5"),
    "CholecSeg8k": ("video01_00160", "clip_160"),
    "UW-Sinus": ("live", "alive"),
    "CholecInstanceSeg": ("val", "eval"),
    "YOLO boxes": ("valid", "validation images"),
    "class folders": ("test/scissors", "scisors"),
    "MMSegmentation": ("img_dir/val", "evaluation"),
}


@pytest.mark.parametrize("name", STRAYS)
def test_one_renamed_folder_among_others_is_not_lost_in_silence(
    name: str, made: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(made[name], root)
    old, new = STRAYS[name]
    if name == "EndoVis 2018":  # the only sequence of its release: put another beside it
        shutil.copytree(next(root.rglob(old)), next(root.rglob(old)).with_name("seq_6"))
    path = next(p for p in sorted(root.rglob(Path(old).name)) if str(p).endswith(old))
    path.rename(path.with_name(new))
    with pytest.raises(DataError, match=rf"1 fault\n.*{new}: .* (named|train)") as error:
        open_frames(root)
    assert error.value.message.count(f"/{new}:") == 1


def test_a_renamed_release_is_read_all_the_same(made: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(made["EndoVis 2018"], root)
    (root / "miccai_challenge_release_2").rename(root / "second release")
    assert set(open_frames(root).groups) == set(open_frames(made["EndoVis 2018"]).groups)
    shutil.rmtree(root / "second release" / "seq_5" / "labels")
    assert "seq_5" not in open_frames(root).groups  # frames to be tested on, of no release


def test_images_that_are_renamed_are_named(tmp_path: Path) -> None:
    root = image_and_mask_folder(tmp_path / "set")
    (root / "images").rename(root / "frames")
    with pytest.raises(DataError, match=r"faults\n.*images: is missing"):
        open_frames(root)


@pytest.mark.parametrize("name", layouts.EVERY)
def test_half_a_download_is_named(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(made[name], root)
    files = [p for p in sorted(root.rglob("*")) if p.suffix in (".png", ".jpg", ".avi", ".mp4")]
    visible = [p for p in files if "__MACOSX" not in p.parts and not p.name.startswith("._")]
    ignored = (
        "right_frames",
        "_mask.png",
        "_instrument.png",
        "repairs",
        "_color.png",
        "_instanceIds",
    )
    victim = next(
        p for p in visible if not any(word in str(p.relative_to(root)) for word in ignored)
    )
    data = victim.read_bytes()
    victim.write_bytes(data[: len(data) // 2])
    report = check_frames(root)
    assert report.faults, victim
    assert any(victim.name in str(fault) for fault in report.faults), (victim, report.faults)


def test_every_reader_has_a_fixture_and_broken_copies() -> None:
    names = {reader.NAME for reader in READERS}
    assert names == set(layouts.EVERY) == set(BREAKS) == set(RENAMES)
    assert names - set(layouts.WRITERS) == {"image-and-mask folder"}
