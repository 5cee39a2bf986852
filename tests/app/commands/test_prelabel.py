"""`trocar prelabel`, and the way of its labels through annotation tools and back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trocar.train.data.readers import open_frames


@pytest.fixture
def pool(tiny, tmp_path: Path) -> Path:
    root = tmp_path / "pool"
    for i in range(3):
        folder = root / f"op{i // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        frame = tiny.tiny_frame(64, 80, shift=6 * i)
        cv2.imwrite(str(folder / f"{i}.png"), frame[..., ::-1])
    # A pool is pictures alone; sub-folders are operations.
    (root / "images").mkdir()
    for folder in ("op0", "op1"):
        (root / folder).rename(root / "images" / folder)
    return root


def masks(root: Path) -> dict[str, np.ndarray]:
    frames = open_frames(root)
    return {item.name: frames.read(item).mask for item in frames}


def test_labels_are_the_models(run, bundle, pool, tmp_path) -> None:
    from trocar.runtime import Session

    out = tmp_path / "drafts"
    assert run("prelabel", bundle, pool, out) == 0
    session = Session.open(bundle)
    assert open_frames(out).table == session.manifest.classes
    made = open_frames(out)
    assert [item.group for item in made] == ["op0", "op0", "op1"]
    sources = sorted((pool / "images").rglob("*.png"))
    for item, source in zip(made, sources, strict=True):
        image = cv2.imread(str(source))[..., ::-1]
        sample = made.read(item)
        mask = sample.mask
        assert np.array_equal(sample.image, image)
        assert np.array_equal(mask, session.run(np.ascontiguousarray(image)).labels)
        assert mask.max() > 0
    assert run("prelabel", bundle, pool, out) == 11


def test_unsure_pixels_are_ignored(run, bundle, pool, tmp_path) -> None:
    assert run("prelabel", bundle, pool, tmp_path / "drafts", "--min-confidence", 1) == 0
    assert any((mask == 255).any() for mask in masks(tmp_path / "drafts").values())


@pytest.mark.parametrize("kind", ["coco", "coco-rle", "labelme", "cvat", "cvat-rle"])
def test_corrections_come_back(run, bundle, pool, tmp_path, kind: str) -> None:
    out, back = tmp_path / "drafts", tmp_path / "corrected"
    assert run("prelabel", bundle, pool, out, "--format", kind) == 0
    labels = next(out.glob(f"labels_{kind}*"))
    assert (
        run(
            "data", "import-labels", labels, out / "images", back, "--classes", out / "classes.toml"
        )
        == 0
    )
    drafts, same = masks(out), masks(back)
    assert drafts.keys() == same.keys()
    assert all(np.array_equal(drafts[name], same[name]) for name in drafts)


def test_a_corrected_label_is_the_one_that_comes_back(run, bundle, pool, tmp_path) -> None:
    out, back = tmp_path / "drafts", tmp_path / "corrected"
    assert run("prelabel", bundle, pool, out, "--format", "coco") == 0
    data = json.loads((out / "labels_coco.json").read_text())
    first = data["images"][0]["id"]
    # The annotator throws away all of the first frame and draws one square of class 2.
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != first]
    square = {"id": 999, "image_id": first, "category_id": 2, "iscrowd": 0}
    square |= {"segmentation": [[10, 10, 20, 10, 20, 20, 10, 20]], "bbox": [10, 10, 10, 10]}
    data["annotations"].append(square)
    corrected = tmp_path / "corrected.json"
    corrected.write_text(json.dumps(data))
    assert (
        run(
            "data",
            "import-labels",
            corrected,
            out / "images",
            back,
            "--classes",
            out / "classes.toml",
        )
        == 0
    )
    name = data["images"][0]["file_name"].removesuffix(".png")
    drafts, got = masks(out), masks(back)
    assert set(np.unique(got[name])) == {0, 2}
    assert (got[name] == 2).sum() == 10 * 10
    assert all(np.array_equal(got[k], drafts[k]) for k in drafts if k != name)
