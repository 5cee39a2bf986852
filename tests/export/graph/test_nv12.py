"""The graph for NV12: made of a graph that resizes frames alone, and held to the RGB form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from nv12_bundles import nv12_form
from onnx import helper
from tiny_bundle import make_tiny_bundle, tiny_frame

from trocar.commands.export import export
from trocar.contract.bundle import MODEL, PARITY, open_bundle
from trocar.contract.errors import ArgumentError, ParityError
from trocar.contract.manifest import NV12_GOLDEN, NV12_MODEL
from trocar.contract.media.nv12 import nv12_from_rgb, nv12_inputs, rgb_of
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.nv12 import with_nv12_input
from trocar.runtime.session import Session


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("plain") / "tiny.trocar")


def test_the_networks_image_is_that_of_the_rgb_path(bundle: Path) -> None:
    """Where chroma is even and no colour is clamped, only the rounding to bytes differs: by
    half a level at most."""
    model = onnx.load_model_from_string(open_bundle(bundle).read(MODEL))
    model.graph.output.append(
        helper.make_tensor_value_info("small", onnx.TensorProto.FLOAT, ["batch", 3, 64, 80])
    )
    data = model.SerializeToString()
    rgb, planes = open_cpu_session(data), open_cpu_session(with_nv12_input(data))
    luma = np.random.default_rng(0).integers(60, 180, (151, 203)).astype(np.uint8)
    for colour in ("bt601-limited", "bt2020-full"):
        picture = nv12_from_rgb(np.zeros((151, 203, 3), np.uint8), colour)
        picture.luma[:] = luma
        picture.chroma[:] = (120, 140)
        (expected,) = rgb.run(["small"], {"frame": rgb_of(picture)[None]})
        (found,) = planes.run(["small"], nv12_inputs([picture]))
        apart = np.abs(found - expected)
        assert apart.max() <= 0.501


def test_only_the_planes_are_inputs_and_no_manifest_is_left(bundle: Path) -> None:
    model = onnx.load_model_from_string(with_nv12_input(open_bundle(bundle).read(MODEL)))
    assert [value.name for value in model.graph.input] == ["luma", "chroma", "colour"]
    assert not model.metadata_props
    assert {node.op_type for node in model.graph.node} >= {"Resize", "MatMul", "Clip", "Conv"}


def with_node(data: bytes, change: Any) -> bytes:
    model = onnx.load_model_from_string(data)
    change(model.graph)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("kind", ["padded", "size used", "nearest"])
def test_a_graph_that_does_more_with_frames_is_refused(bundle: Path, kind: str) -> None:
    def change(graph: Any) -> None:
        if kind == "padded":
            graph.node[2].op_type, graph.node[2].input[:] = "Identity", ["planes"]
            del graph.node[2].attribute[:]
        elif kind == "size used":
            graph.node.insert(0, helper.make_node("Shape", ["frame"], ["sizes_of_frame"]))
            graph.node.append(helper.make_node("Identity", ["sizes_of_frame"], ["size"]))
            graph.output.append(helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [4]))
        else:
            next(a for a in graph.node[2].attribute if a.name == "mode").s = b"nearest"

    with pytest.raises(ArgumentError, match="cannot take NV12") as caught:
        with_nv12_input(with_node(open_bundle(bundle).read(MODEL), change))
    assert caught.value.remedy == "leave --nv12 out"


def test_a_form_that_differs_is_refused_by_the_gate(bundle: Path, tmp_path: Path) -> None:
    """A runtime that swapped U and V would be found."""
    from trocar.commands._models import open_nv12

    def swapped(path: Path) -> Any:
        run = open_nv12(path)
        return lambda inputs: run({**inputs, "chroma": inputs["chroma"][..., ::-1].copy()})

    with pytest.raises(ParityError, match="the NV12 form differs from the RGB form: ") as caught:
        nv12_form(bundle, tmp_path / "work", open_nv12=swapped)
    assert "leave --nv12 out" in caught.value.remedy
    form = nv12_form(bundle, tmp_path / "work")
    assert 0.99 < form.about["least"] <= form.about["equal"] <= 1


def test_the_flag_adds_the_form_and_a_conversion_without_it_leaves_it_out(
    bundle: Path, tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(2):
        image = tiny_frame(300, 401, shift=4 * index)
        cv2.imwrite(str(frames / f"{index}.png"), image[..., ::-1])
    both, plain = tmp_path / "both", tmp_path / "plain"

    def export_to(source: Path, out: Path, *flags: str) -> Any:
        command = [str(source), "--out", str(out), "--frames", str(frames), *flags]
        done = CliRunner().invoke(export, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        opened = open_bundle(out)
        return opened.manifest, json.loads(opened.read(PARITY))["extra"]

    manifest, parity = export_to(bundle, both, "--nv12")
    assert {NV12_MODEL, NV12_GOLDEN} <= set(manifest.files)
    assert manifest.extra["nv12"] == parity["nv12"]
    assert 0.99 < parity["nv12"]["least"] <= 1
    assert parity["nv12"]["frames"] == 2
    Session.open(both, threads=1).close()
    manifest, parity = export_to(both, plain)
    assert not {NV12_MODEL, NV12_GOLDEN} & set(manifest.files)
    assert "nv12" not in manifest.extra
    assert "nv12" not in parity
