"""The parsers of files from outside, each with a good file and a way to call it; and mutations."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import layouts
import numpy as np
from annotation_layouts import coco_document
from data_helpers import TABLE, labels, picture
from PIL import Image

from trocar.contract.class_store import ClassStore
from trocar.contract.classes import ClassTable
from trocar.contract.config import read_config
from trocar.contract.errors import TrocarError
from trocar.contract.manifest import Manifest
from trocar.contract.media.pictures import encode_picture, read_image, write_picture
from trocar.train.data.annotations.exchange import import_labels
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.readers import open_frames
from trocar.train.data.tools.check import check_frames
from trocar.train.state.settings import RunConfig

SIZE = (24, 36)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser.

    Attributes:
        file: Path of the mutated file below the folder of the target.
        seeds: Contents that it reads without a fault.
        prepare: Writes what lies around the file.
        run: Reads it; the argument is the folder.
    """

    file: str
    seeds: tuple[bytes, ...]
    run: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda root: root


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _pictures(root: Path) -> None:
    for i in range(2):
        write_picture(root / "images" / f"a{i}.png", picture(i, *SIZE))


def _import(name: str) -> Callable[[Path], object]:
    def run(root: Path) -> object:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            return import_labels(root / name, root / "images", Path(folder) / "out")

    return run


def _check(root: Path) -> object:
    report = check_frames(root, workers=1)
    return [str(fault) for fault in report.faults if "leakage" not in fault.text]


def _plain_set(root: Path) -> None:
    _pictures(root)
    for i in range(2):
        write_picture(root / "masks" / f"a{i}.png", labels(i, *SIZE))
    TABLE.write(root / "classes.toml")


def _around(write: Callable[[Path], object], file: str) -> tuple[bytes, Callable[[Path], object]]:
    """The content that a writer gives a file, and the writer."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return (Path(folder) / file).read_bytes(), write


def _layout(write: Callable[[Path], object], file: str) -> Target:
    seed, prepare = _around(write, file)
    return Target(file=file, seeds=(seed,), run=_check, prepare=prepare)


def _annotation(name: str, *seeds: bytes) -> Target:
    return Target(file=name, seeds=seeds, run=_import(name), prepare=_pictures)


def _encoded(kind: str, image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, kind)
    return data.getvalue()


def _pictures_target(name: str, *seeds: bytes) -> Target:
    def run(root: Path) -> object:
        for read in (read_image, read_raw_mask):
            try:
                read(root / name)  # type: ignore[operator]
            except TrocarError as error:
                if name not in str(error):
                    raise
        return None

    return Target(file=name, seeds=seeds, run=run)


def _bundle(root: Path) -> None:
    from tiny_bundle import make_tiny_bundle

    make_tiny_bundle(root / "tiny.trocar")


def _store() -> bytes:
    return ClassStore(
        names=("hook", "saw"),
        trained=(True, False),
        features=np.ones((2, 4), np.float32),
        owners=np.arange(2),
        digests=("a" * 64, "b" * 64),
    ).to_bytes()


def _read_store(root: Path) -> object:
    return ClassStore.from_bytes((root / "store.npz").read_bytes(), source="store.npz")


COCO = coco_document(["a0.png", "a1.png"])
_RLE = {"size": list(SIZE), "counts": [100, 50, 714]}
_TEXT_RLE = {"size": list(SIZE), "counts": "S36b00000000Ud0"}
COCO_RLE = {**COCO, "annotations": [
    {"id": 1, "image_id": 0, "category_id": 2, "iscrowd": 1, "segmentation": _RLE},
    {"id": 2, "image_id": 1, "category_id": 4, "bbox": [1, 2, 9, 9.5], "segmentation": []},
    {"id": 3, "image_id": 1, "category_id": 4, "segmentation": _TEXT_RLE},
]}  # fmt: skip
LABEL_STUDIO = {**COCO, "images": [
    {"id": i, "file_name": f"../data\\\\upload/1/a{i}.png",
     "height": SIZE[0], "width": SIZE[1]} for i in range(2)
]}  # fmt: skip
LABELME = {
    "version": "5.4.1", "flags": {}, "imagePath": "a0.png", "imageHeight": 24, "imageWidth": 36,
    "shapes": [
        {"label": "hook", "points": [[1, 1], [9, 1], [9.5, 9]], "shape_type": "polygon",
         "group_id": 1},
        {"label": "hook", "points": [[5, 5], [8, 5]], "shape_type": "circle", "group_id": None},
        {"label": "saw", "points": [[2, 12], [8, 20]], "shape_type": "rectangle"},
    ],
}  # fmt: skip
CVAT = b"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>
<meta><task><labels><label><name>hook</name></label></labels></task></meta>
<image id="0" name="a0.png" width="36" height="24">
<polygon label="hook" points="1,1;9.5,1;9,9" z_order="1" group_id="3"/>
<box label="hook" xtl="1" ytl="2" xbr="9" ybr="8" rotation="30.0" z_order="0"/>
<ellipse label="hook" cx="9" cy="9" rx="4" ry="3"/>
<mask label="hook" rle="2, 3, 1" left="1" top="1" width="3" height="2"/></image>
<image id="1" name="a1.png" width="36" height="24"></image></annotations>"""
CVAT_VIDEO = b"""<annotations><version>1.1</version><meta><task><size>2</size>
<start_frame>0</start_frame><stop_frame>1</stop_frame><frame_filter>step=1</frame_filter>
<original_size><width>36</width><height>24</height></original_size></task></meta>
<track id="0" label="hook"><box frame="0" outside="0" xtl="1" ytl="2" xbr="9" ybr="8"
z_order="0"/><box frame="1" outside="1" xtl="1" ytl="2" xbr="9" ybr="8"/></track></annotations>"""
TARGET_JPEG = encode_picture(picture(1, *SIZE), ".jpg")
PALETTE = Image.fromarray(labels(1, *SIZE)).convert("P")
COLOUR = Image.fromarray(picture(1, *SIZE))


def _recipe(root: Path) -> object:
    return read_config(RunConfig, root / "recipe.toml")


def _voc(root: Path) -> None:
    layouts.voc(root)


def targets() -> dict[str, Target]:
    """Every parser by name."""
    manifest, around = _around(_bundle, "tiny.trocar/manifest.json")
    golden = _around(_bundle, "tiny.trocar/golden.npz")[0]
    table = _around(_plain_set, "classes.toml")[0]
    return {
        "COCO": _annotation("ann.json", _json(COCO), _json(COCO_RLE)),
        "Label Studio": _annotation("ann.json", _json(LABEL_STUDIO)),
        "LabelMe": _annotation("a0.json", _json(LABELME)),
        "CVAT": _annotation("ann.xml", CVAT),
        "CVAT video": _annotation("ann.xml", CVAT_VIDEO),
        "COCO set": _layout(layouts.coco, "train/_annotations.coco.json"),
        "VOC": _layout(_voc, "labelmap.txt"),
        "YOLO": _layout(layouts.yolo, "train/labels/a0.txt"),
        "YOLO polygons": _layout(layouts.yolo_polygons, "labels/train/a0.txt"),
        "YOLO names": _layout(layouts.yolo_polygons, "data.yaml"),
        "nnU-Net": _layout(layouts.nnunet, "dataset.json"),
        "Supervisely": _layout(layouts.supervisely, "train/ann/a0.png.json"),
        "Supervisely classes": _layout(layouts.supervisely, "meta.json"),
        "class table": Target(
            file="classes.toml",
            seeds=(table,),
            run=lambda root: ClassTable.read(root / "classes.toml"),
        ),
        "dataset.toml": Target(
            file="dataset.toml",
            seeds=(b'name = "x"\ngroup = "^(a)"\nnearest = true\n[values]\n38 = "grasper"\n',
                   b'masks = "masks/{stem}.png"\nimages = "images"\nlayout = "folder"\n'),
            run=open_frames,
            prepare=_plain_set,
        ),
        "recipe": Target(
            file="recipe.toml",
            seeds=(b'steps = 5\nlr = 0.01\nprecision = "fp32"\n'
                   b"channels_last = false\n",
                   b"steps = 5\nlr = 0.01\nbatch_size = 2\n"),
            run=_recipe,
        ),
        "manifest": Target(
            file="tiny.trocar/manifest.json", seeds=(manifest,), prepare=around,
            run=_manifest,
        ),
        "golden frame": Target(
            file="tiny.trocar/golden.npz", seeds=(golden,), prepare=around, run=_golden,
        ),
        "class store": Target(
            file="store.npz", seeds=(_store(),),
            run=_read_store,
        ),
        "PNG": _pictures_target("p.png", encode_picture(picture(1, *SIZE), ".png"),
                                _encoded("PNG", PALETTE), _encoded("PNG", COLOUR.convert("1"))),
        "JPEG": _pictures_target("p.jpg", TARGET_JPEG),
        "TIFF": _pictures_target("p.tif", _encoded("TIFF", COLOUR)),
        "WebP and BMP": _pictures_target("p.bin", _encoded("WEBP", COLOUR), _encoded("BMP", COLOUR),
                                         _encoded("GIF", PALETTE)),
    }  # fmt: skip


def _manifest(root: Path) -> object:
    file = root / "tiny.trocar" / "manifest.json"
    return Manifest.from_json(file.read_bytes(), source=str(file))


def _golden(root: Path) -> object:
    from trocar.runtime.golden import read_golden

    return read_golden((root / "tiny.trocar/golden.npz").read_bytes(), "segmentation")


def complaint(target: Target, root: Path, data: bytes) -> str:
    """What is wrong with how a parser takes data: empty if nothing is.

    Args:
        target: The parser.
        root: Its prepared folder.
        data: Content of the file.
    """
    file = root / target.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    try:
        target.run(root)
    except TrocarError as error:
        if Path(target.file).name not in str(error):
            return f"does not name {target.file}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


DEEP = b"[" * 3000
TOKENS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b"true", b"false", b'"false"', b"1.9",
    b"-1", b"0", b"9" * 400, b"9" * 5000, b"99999999", b"2147483648", b"1e-400", b"{}", b"[]", DEEP,
    b"\0", b"\xff", b'"', b"'", b"<", b"&", b"]", b"}", b"=", b"\n", b"\xef\xbb\xbf", b"inf",
    b"nan", b"0x10", b"\\ud800", b"../", b"/etc", b"{stem}", "é".encode(), b"1979-05-27",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, "false", "1", "", "x" * 300, "é\ud800", 1.9, -1, 0, 2**31, 2**63, 10**400,
    float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None], {"a": {}}, 1e300, "../x", "\0",
)  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A changed copy of a file: an odd value in JSON, or bytes changed, moved and cut."""
    if data[:1] == b"{" and chance.random() < 0.6:
        return _with_odd_value(json.loads(data), chance)
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        end = min(at + chance.choice((0, 1, 1, 2, 4, 16)), len(made))
        kind = chance.randrange(5)
        if kind == 0:
            made[at:end] = chance.choice(TOKENS)
        elif kind == 1:
            made[at:end] = bytes(chance.randrange(256) for _ in range(end - at))
        elif kind == 2:
            made[at:end] = b""
        elif kind == 3:
            made[at:at] = made[chance.randrange(len(made) + 1) :][: chance.choice((1, 4, 32))]
        elif chance.random() < 0.3:
            del made[at:]
    return bytes(made)


def _with_odd_value(document: Any, chance: random.Random) -> bytes:
    places = list(_places(document))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        holder, key = chance.choice(places)
        if chance.random() < 0.15:
            try:
                del holder[key]
            except (KeyError, IndexError):
                continue
            continue
        try:
            holder[key] = chance.choice(ODD)
        except IndexError:
            continue
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    keys: Sequence[Any] = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])
