"""Writes small copies of published data sets, in exactly their layouts, with their traps."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from annotation_layouts import (
    autolaparo,
    cityscapes,
    coco,
    dresden,
    endoscapes,
    isinet,
    supervisely,
)
from data_helpers import TABLE, boxes, image_and_mask_folder, picture
from numpy.typing import NDArray
from PIL import Image

from trocar.contract.media.pictures import encode_picture, write_picture

Frame = NDArray[np.uint8]


def video(path: Path, frames: Sequence[Frame], rate: int = 25) -> None:
    """Writes an H.264 video of RGB frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())


def rgba(path: Path, values: Frame) -> None:
    """Saves a grey mask as opaque RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.dstack([values] * 3 + [np.full_like(values, 255)])).save(path)


def endovis2015_rigid(root: Path) -> Path:
    training = root / "Segmentation_Rigid_Training" / "Training"
    for op in (1, 4):
        for i in range(1, 4) if op == 1 else range(13, 16):
            folder = training / f"OP{op}"
            write_picture(folder / "Raw" / f"img_{i:02d}_raw.png", picture(i, 60, 80))
            mask = boxes((0, 160, 70), 60, 80)
            instances = boxes((20, 40), 60, 80)
            if (op, i) == (4, 14):
                rgba(folder / "Masks" / f"img_{i}_class.png", mask)
                rgba(folder / "Masks" / f"img_{i}_instrument.png", instances)
            else:
                write_picture(folder / "Masks" / f"img_{i:02d}_class.png", mask)
                write_picture(folder / "Masks" / f"img_{i:02d}_instrument.png", instances)
    return root


def endovis2015_robotic(root: Path) -> Path:
    training = root / "Segmentation_Robotic_Training" / "Training"
    frames = [picture(i, 576, 720) for i in range(4)]
    left, right = np.zeros((576, 720, 3), np.uint8), np.zeros((576, 720, 3), np.uint8)
    left[100:300, 100:300], left[100:300, 200:300] = 160, 70
    right[350:500, 400:600] = 160
    video(training / "Dataset1" / "Video.avi", frames)
    video(training / "Dataset1" / "Segmentation.avi", [left] * 4)
    video(training / "Dataset2" / "Video.avi", frames)
    video(training / "Dataset2" / "Left_Instrument_Segmentation.avi", [left] * 4)
    video(training / "Dataset2" / "Right_Instrument_Segmentation.avi", [right] * 4)
    return root


def endovis2015_robotic_testing(
    root: Path, *, above: bool = False, size: tuple[int, int] = (48, 64)
) -> Path:
    """Films in ``DatasetN``, their masks in ``GT/DatasetN`` beside them or in the folder above."""
    films = root / "Testing" if above else root
    height, width = size
    frames = [picture(i, height, width) for i in range(3)]
    left, right = np.zeros((*size, 3), np.uint8), np.zeros((*size, 3), np.uint8)
    rows, quarter = slice(height // 3, height // 2), width // 4
    left[rows, :quarter], left[rows, quarter : 2 * quarter] = 160, 70
    # Covers the last eighth of the width of the left manipulator, its lower half.
    right[5 * height // 12 : 5 * height // 6, 3 * width // 8 :] = 160
    two = {"Left_Instrument_Segmentation": left, "Right_Instrument_Segmentation": right}
    for name, masks in (("Dataset1", two), ("Dataset5", {"Segmentation": left})):
        video(films / name / "Video.avi", frames)
        for stem, mask in masks.items():
            video(root / "GT" / name / f"{stem}.avi", [mask] * 3)
    return root


def endovis2017(root: Path, datasets: Sequence[int] = (1, 7)) -> Path:
    for n in datasets:
        folder = root / "train" / f"instrument_dataset_{n}"
        for i in range(2):
            frame = np.zeros((1080, 1920, 3), np.uint8)
            frame[28:1052, 320:1600] = (90, 40, 30)
            for side in ("left_frames", "right_frames"):
                write_picture(folder / side / f"frame{i:03d}.png", frame)
            shaft = np.zeros((1080, 1920), np.uint8)
            shaft[128:328, 420:620], shaft[328:428, 420:620] = 10, 20
            other = np.zeros((1080, 1920), np.uint8)
            other[600:700, 1000:1200], other[700:760, 1000:1200] = 10, 77
            clasper = np.zeros((1080, 1920), np.uint8)
            clasper[128:228, 1400:1600] = 30
            truth = folder / "ground_truth"
            write_picture(truth / "Maryland_Bipolar_Forceps_labels" / f"frame{i:03d}.png", shaft)
            write_picture(truth / "Other_labels" / f"frame{i:03d}.png", other)
            named = "Right_Large_Needle_Driver"  # no suffix _labels
            if n == 7:
                write_picture(truth / named / f"frame{i:03d}.png", np.dstack([clasper] * 3))
            else:
                write_picture(truth / named / f"frame{i:03d}.png", clasper)
    return root


COLOURS_2018 = [
    (0, 0, 0),
    (0, 255, 0),
    (0, 255, 255),
    (125, 255, 12),
    (255, 55, 0),
    (24, 55, 125),
    (187, 155, 25),
    (0, 255, 125),
    (255, 255, 125),
    (123, 15, 175),
    (124, 155, 5),
    (12, 255, 141),
]


def scene_2018(thread: tuple[int, int, int] = (187, 155, 25)) -> Frame:
    mask = np.zeros((1024, 1280, 3), np.uint8)
    for i, colour in enumerate(COLOURS_2018):
        mask[200:, i * 100 : (i + 1) * 100] = thread if colour == (187, 155, 25) else colour
    return mask


def endovis2018(root: Path) -> Path:
    releases = {1: "miccai_challenge_2018_release_1", 2: "miccai_challenge_release_2"}
    for release, sequences in ((1, (1, 2)), (2, (5,))):
        for k in sequences:
            folder = root / releases[release] / f"seq_{k}"
            for i in range(2):
                write_picture(folder / "left_frames" / f"frame{i:03d}.png", picture(i, 1024, 1280))
                write_picture(folder / "right_frames" / f"frame{i:03d}.png", picture(i, 1024, 1280))
                mask = scene_2018((128, 155, 25) if k == 2 else (187, 155, 25))
                path = folder / "labels" / f"frame{i:03d}.png"
                if (k, i) == (1, 1):  # RGBA
                    path.parent.mkdir(parents=True, exist_ok=True)
                    alpha = np.full((1024, 1280), 255, np.uint8)
                    Image.fromarray(np.dstack([mask, alpha])).save(path)
                else:
                    write_picture(path, mask)
    rows = [
        {"name": f"class {i}", "color": list(c), "classid": i} for i, c in enumerate(COLOURS_2018)
    ]
    (root / releases[1] / "labels.json").write_text(json.dumps(rows))
    junk = root / "__MACOSX" / releases[1] / "seq_1" / "left_frames"
    junk.mkdir(parents=True)
    (junk / "._frame000.png").write_bytes(b"not a picture")
    (root / releases[1] / "seq_1" / "labels" / "._frame000.png").write_bytes(b"not a picture")
    repaired = np.zeros((1024, 1280, 3), np.uint8)
    repaired[:] = (0, 255, 0)
    with zipfile.ZipFile(root / "repairs.zip", "w") as pack:
        pack.writestr("repairs/seq_5/labels/frame001.png", encode_picture(repaired, ".png"))
        pack.writestr("__MACOSX/repairs/seq_5/labels/._frame001.png", b"junk")
    return root


DECIMAL = (50, 11, 21, 13, 12, 31, 23, 24, 25, 32, 22, 33, 5)
HEXADECIMAL = (80, 17, 33, 19, 18, 49, 35, 36, 37, 50, 34, 51, 5)


def cholecseg8k(root: Path, codes: Sequence[int] = DECIMAL) -> Path:
    for video_name, clip in (("video01", "00080"), ("video01", "00160"), ("video12", "15750")):
        folder = root / video_name / f"{video_name}_{clip}"
        for n in (int(clip), int(clip) + 1):
            mask = boxes(codes, 480, 854)
            mask[:30], mask[30:40] = 255, 0
            stem = folder / f"frame_{n}_endo"
            write_picture(stem.with_name(stem.name + ".png"), picture(n, 480, 854))
            for kind in ("mask", "color_mask", "watershed_mask"):
                shown = mask if kind == "watershed_mask" else np.full_like(mask, 99)
                write_picture(stem.with_name(f"{stem.name}_{kind}.png"), np.dstack([shown] * 3))
    return root


def kvasir_instrument(root: Path) -> Path:
    place = root / "kvasir-instrument"
    names = [f"ckcu{i}" for i in range(5)]
    for i, name in enumerate(names):
        write_picture(place / "masks" / f"{name}.png", _red(boxes((0, 255), 50, 60)))
        (place / "images").mkdir(exist_ok=True)
        write_picture(place / "images" / f"{name}.jpg", picture(i, 50, 60))
    (place / "bboxes.json").write_text("{}")
    (place / "train.txt").write_text("\n".join(names[:4]) + "\n")
    (place / "test.txt").write_text(names[4] + "\n")
    return root


def _red(values: Frame) -> Frame:
    return np.dstack([values, np.zeros_like(values), np.zeros_like(values)])


def uw_sinus(root: Path) -> Path:
    for part, letter in (("cadaver", "S"), ("live", "L")):
        for v in (1, 2):
            for i in range(2):
                name = f"{letter}{v:02d}_{i:04d}"
                (root / part / "images").mkdir(parents=True, exist_ok=True)
                write_picture(
                    root / part / "images" / f"{name}.jpg",
                    picture(100 * ord(letter) + 10 * v + i, 48, 48),
                )
                write_picture(root / part / "labels" / f"{name}.png", boxes((0, 1), 48, 48))
    return root


TOOLS = "Frame\tGrasper\tBipolar\tHook\tScissors\tClipper\tIrrigator\tSpecimenBag\n"


def cholec80(root: Path) -> Path:
    for n in (1, 41):
        frames = [np.full((48, 64, 3), 3 * i, np.uint8) for i in range(60)]
        video(root / "videos" / f"video{n:02d}.mp4", frames)
        (root / "tool_annotations").mkdir(exist_ok=True)
        (root / "phase_annotations").mkdir(exist_ok=True)
        rows = TOOLS + "0\t1\t0\t0\t0\t0\t0\t0\n25\t1\t0\t1\t0\t0\t0\t0\n50\t0\t0\t0\t0\t0\t0\t1\n"
        rows += "75\t0\t0\t0\t0\t0\t0\t1\n" if n == 41 else ""  # the phantom row
        (root / "tool_annotations" / f"video{n:02d}-tool.txt").write_text(rows)
        phases = "Frame\tPhase\n" + "".join(
            f"{i}\t{'Preparation' if i < 30 else 'GallbladderDissection'}\n" for i in range(60)
        )
        (root / "phase_annotations" / f"video{n:02d}-phase.txt").write_text(phases)
    return root


def cholec_instance_seg(root: Path) -> Path:
    for split, clip in (
        ("train", "VID01_t50_sparse"),
        ("train", "VID02_seg8k"),
        ("val", "VID07_x"),
    ):
        video_name = clip.split("_")[0]
        for i in range(2):
            stem = f"t50_{video_name}_{i:06d}"
            image = picture(10 * int(video_name[3:]) + i, 60, 80)
            write_picture(root / split / clip / "img_dir" / f"{stem}.png", image)
            square = [[10, 10], [30, 10], [30, 30], [10, 30]]
            far = [[50, 40], [70, 40], [70, 50], [50, 50]]
            shapes = [
                {"label": "grasper", "points": square, "group_id": 1, "shape_type": "polygon"},
                {"label": "grasper", "points": far, "group_id": 1, "shape_type": "polygon"},
                {"label": "snare", "points": [[0, 0], [5, 0], [5, 5]], "group_id": 1},
            ]
            data = {"shapes": shapes, "imagePath": f"{stem}.png", "imageHeight": 60}
            folder = root / split / clip / "ann_dir"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.json").write_text(json.dumps({**data, "imageWidth": 80}))
    return root


def robust_mis(root: Path) -> Path:
    for kind, operation in (("Training/Proctocolectomy", "1"), ("Testing/Sigmoid", "3")):
        for n in (100, 250):
            folder = root / kind / operation / str(n)
            write_picture(folder / "raw.png", picture(n + int(operation), 54, 96))
            write_picture(folder / "instrument_instances.png", boxes((0, 1, 2), 54, 96))
            (folder / "10s_video.zip").write_bytes(b"PK")
    return root


def yolo(root: Path) -> Path:
    for split in ("train", "valid", "test"):
        for i in range(2):
            (root / split / "images").mkdir(parents=True, exist_ok=True)
            (root / split / "labels").mkdir(exist_ok=True)
            write_picture(root / split / "images" / f"a{i}.jpg", picture(i, 40, 40))
            row = f"{i} 0.5 0.5 0.4 0.6\n"
            (root / split / "labels" / f"a{i}.txt").write_text(row)
    (root / "data.yaml").write_text("train: ../train/images\n\nnc: 2\nnames: ['Lahey', '9 Mayo']\n")
    return root


def yolo_polygons(root: Path) -> Path:
    for number, split in enumerate(("train", "val")):
        for i in range(2):
            image = picture(10 * number + i, 24, 36)
            write_picture(root / "images" / split / f"a{i}.png", image)
            (root / "labels" / split).mkdir(parents=True, exist_ok=True)
            row = f"{i} 0.1 0.1 0.9 0.1 0.5 0.8\n"
            (root / "labels" / split / f"a{i}.txt").write_text(row)
    (root / "data.yaml").write_text("train: images/train\nnames:\n  0: hook\n  1: grasper\n")
    return root


def sar_rarp50(root: Path) -> Path:
    for number, clip in enumerate(("train1/video_01", "test/video_41")):
        for i in range(2):
            image = picture(10 * number + i, 24, 36)
            write_picture(root / clip / "rgb" / f"{60 * i:09d}.png", image)
            ids = boxes((1, 2, 9), 24, 36)
            write_picture(root / clip / "segmentation" / f"{60 * i:09d}.png", ids)
    return root


def class_folders(root: Path) -> Path:
    for split in ("train", "test"):
        for name in ("forceps", "scissors"):
            for i in range(2):
                write_picture(root / split / name / f"{i}.png", picture(i, 20, 20))
    return root


def voc(root: Path) -> Path:
    colours = np.array([(0, 0, 0), (51, 221, 255), (250, 50, 83)], np.uint8)
    for i in range(4):
        ids = boxes((0, 1, 2), 24, 36)
        write_picture(root / "JPEGImages" / f"a{i}.jpg", picture(i, 24, 36))
        write_picture(root / "SegmentationClass" / f"a{i}.png", colours[ids])
        write_picture(root / "SegmentationObject" / f"a{i}.png", colours[ids])
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nhook:250,50,83::\nbackground:0,0,0::\n"
        "grasper:51,221,255::\n"
    )
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("a0\na1\na2\na3\n")
    return root


def nnunet(root: Path) -> Path:
    for part, count in (("Tr", 3), ("Ts", 1)):
        for i in range(count):
            name = f"c_{i}" if part == "Tr" else f"t_{i}"
            write_picture(root / f"images{part}" / f"{name}_0000.png", picture(i, 24, 36))
            write_picture(root / f"labels{part}" / f"{name}.png", boxes((0, 1, 3, 9), 24, 36))
    labels = {"background": 0, "hook": 1, "grasper": 3, "ignore": 9}
    document = {"channel_names": {"0": "R"}, "labels": labels, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(document))
    return root


def mmseg(root: Path) -> Path:
    for split, ending in (("train", "_labelTrainIds"), ("val", "")):
        for i in range(2):
            write_picture(root / "img_dir" / split / f"a{i}.jpg", picture(i, 24, 36))
            mask = root / "ann_dir" / split / f"a{i}{ending}.png"
            write_picture(mask, boxes((0, 1, 2, 255), 24, 36))
    TABLE.write(root / "classes.toml")
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "EndoVis 2015 rigid": endovis2015_rigid,
    "EndoVis 2015 robotic": endovis2015_robotic,
    "EndoVis 2017": endovis2017,
    "EndoVis 2018": endovis2018,
    "CholecSeg8k": cholecseg8k,
    "Kvasir-Instrument": kvasir_instrument,
    "UW-Sinus": uw_sinus,
    "Cholec80": cholec80,
    "CholecInstanceSeg": cholec_instance_seg,
    "Robust-MIS 2019": robust_mis,
    "YOLO boxes": yolo,
    "YOLO polygons": yolo_polygons,
    "SAR-RARP50": sar_rarp50,
    "class folders": class_folders,
    "Pascal VOC masks": voc,
    "nnU-Net": nnunet,
    "MMSegmentation": mmseg,
    "Cityscapes names": cityscapes,
    "Supervisely": supervisely,
    "COCO": coco,
    "Endoscapes": endoscapes,
    "AutoLaparo": autolaparo,
    "EndoVis 2018 types": isinet,
    "Dresden Surgical Anatomy Dataset": dresden,
}
EVERY = {**WRITERS, "image-and-mask folder": image_and_mask_folder}
