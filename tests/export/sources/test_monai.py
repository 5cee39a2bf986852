"""MONAI bundles: networks with random weights answer as behind MONAI's own transforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from source_cases import graph_scores, opened, resized, shaken
from source_files import NETWORK, RESIZE, SCALE, write_monai
from torch import nn

from trocar.contract.errors import ArgumentError, CheckpointError, ConfigError, DataError

nets = pytest.importorskip("monai.networks.nets", reason="pip install monai")


def network() -> nn.Module:
    torch.manual_seed(0)
    return shaken(nets.UNet(2, 3, 3, channels=[4, 8], strides=[2], num_res_units=1))


def bundle(folder: Path, *steps: Any, **changes: Any) -> Path:
    return write_monai(folder, network().state_dict(), *steps, **changes)


def cast() -> dict[str, Any]:
    return {"_target_": "CastToTyped", "dtype": "$torch.float32", "keys": "image"}


TRANSFORMS: dict[str, list[dict[str, Any]]] = {
    "scaled": [RESIZE, SCALE],
    "z-score": [
        RESIZE,
        cast(),
        {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True,
         "channel_wise": True},
    ],
    "z-score of all": [
        RESIZE, {"_target_": "monai.transforms.NormalizeIntensityd", "keys": "image"}
    ],
    "range, then mean": [
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255,
         "b_min": 0, "b_max": 1, "clip": True},
        {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": [0.5, 0.4, 0.3],
         "divisor": [0.2, 0.3, 0.4], "channel_wise": True},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_graph_answers_as_behind_the_library_s_transforms(name: str, tmp_path: Path) -> None:
    from monai import transforms

    steps = TRANSFORMS[name]
    source = opened("monai", bundle(tmp_path / "b", *steps))
    manifest = source.external.manifest
    assert (manifest.input.height, manifest.input.width) == (64, 96)
    assert manifest.classes.names == ("background", "grasper", "hook")
    # A picture that is 96 wide and 64 high already, so that both sides resize it alike: not at all.
    picture = resized(64, 96).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), picture[..., ::-1])
    chain = [transforms.LoadImaged("image", image_only=True),
             transforms.EnsureChannelFirstd("image", channel_dim=-1)]  # fmt: skip
    for step in steps:
        values = {k: v for k, v in step.items() if k not in ("_target_", "dtype")}
        values |= {"dtype": torch.float32} if "dtype" in step else {}
        kind = getattr(transforms, step["_target_"].rpartition(".")[2])
        chain.append(kind(**values))
    image = transforms.Compose(chain)({"image": str(tmp_path / "x.png")})["image"]
    assert tuple(image.shape) == (3, 96, 64)
    with torch.no_grad():
        wanted = network()(torch.as_tensor(image)[None].float())[0].transpose(1, 2).numpy()
    from trocar.export.graph.frame_graph import FrameGraph

    graph = FrameGraph(source.network, manifest, with_logits=True).eval()
    with torch.no_grad():
        got = graph(torch.from_numpy(picture)[None])[-1][0].numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_a_part_of_the_graph(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    rotated = {"_target_": "Rotate90d", "keys": "image"}
    with pytest.raises(ArgumentError, match="preprocessing has Rotate90"):
        opened("monai", bundle(folder, RESIZE, rotated, SCALE))
    strange = {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 1}
    with pytest.raises(ConfigError, match="does not state its normalisation") as caught:
        opened("monai", bundle(folder, RESIZE, strange))
    assert "ScaleIntensityRangePercentiles" in caught.value.remedy
    source = opened("monai", folder, mean=(0, 0, 0), std=(1, 1, 1))
    assert "the bundle applies --mean and --std" in source.notes[0]
    with pytest.raises(ArgumentError, match="takes volumes, not frames"):
        opened("monai", bundle(folder, SCALE, dims=3))
    unknown = {**NETWORK, "_target_": "Nothing"}
    with pytest.raises(ArgumentError, match="does not have"):
        opened("monai", bundle(folder, SCALE, network_def=unknown))
    sigmoid = {"transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]}
    with pytest.raises(ArgumentError, match="classes may overlap"):
        opened("monai", bundle(folder, SCALE, postprocessing=sigmoid))
    source = opened("monai", bundle(folder, SCALE, inferer={"_target_": "SlidingWindowInferer"}))
    assert "overlapping windows" in source.notes[0]
    assert graph_scores(source).shape == (3, 64, 96)


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_no_state_dictionary(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", RESIZE, SCALE)
    scripted = torch.jit.trace(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8))
    scripted.save(str(folder / "models" / "model.ts"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        opened("monai", folder, weights=folder / "models" / "model.ts")
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(CheckpointError, match=r"model.ts is a TorchScript file"):
        opened("monai", folder)
    (folder / "models" / "model.ts").unlink()
    with pytest.raises(DataError, match=r"has no model\.pt"):
        opened("monai", folder)


def test_a_config_alone_with_weights(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", RESIZE, SCALE)
    alone = tmp_path / "net.yaml"
    alone.write_text(json.dumps({"network_def": {**NETWORK, "spatial_dims": 2}}))
    weights = folder / "models" / "model.pt"
    with pytest.raises(ConfigError, match="size of its input, its normalisation, the names"):
        opened("monai", alone, weights=weights)
