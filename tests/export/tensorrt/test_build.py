"""Engines of TensorRT for RTX, built here without a GPU: precision, shapes, sidecars, failures."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from export_helpers import frames_of, run_onnx, scene
from onnx import helper
from own_process import in_own_process

from trocar.commands.export import export
from trocar.contract.bundle import open_bundle
from trocar.contract.errors import (
    ArgumentError,
    BackendError,
    ConfigError,
    MissingExtraError,
    ParityError,
)
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import (
    LIBRARIES,
    EngineLibrary,
    EngineSidecar,
    Profile,
    engines_of,
)
from trocar.contract.tensorrt.gpu import Gpu
from trocar.export.bundle import convert_bundle, export_bundle
from trocar.export.gate import ExportOptions
from trocar.export.parity.types import GateFrame, Infer
from trocar.export.precision.float16 import convert_to_float16
from trocar.export.precision.int8 import activation_ranges, convert_to_int8
from trocar.export.tensorrt import build as engine_module
from trocar.export.tensorrt.build import EngineOptions, build_engine
from trocar.export.tensorrt.bundle_engines import add_engines, profile_of, prune_engines

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (extra rtx)")

STATIC = Profile(minimum=(1, 120, 160), optimum=(1, 120, 160), maximum=(1, 120, 160))
DYNAMIC = Profile(minimum=(1, 100, 100), optimum=(2, 480, 640), maximum=(4, 1080, 1920))


def rtx(profile: Profile = STATIC, **more: object) -> EngineOptions:
    return EngineOptions(flavour="tensorrt-rtx", profile=profile, **more)


@pytest.mark.parametrize("profile", [STATIC, DYNAMIC], ids=["static", "dynamic"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engines_are_built_as_the_graph_says(
    deeplab_onnx: bytes, precision: str, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a GPU the engine's inspector would be asked, where that GPU can load it.
    monkeypatch.setattr(engine_module, "find_gpu", lambda: None)
    model = deeplab_onnx
    if precision == "fp16":
        model = convert_to_float16(model)[0]
    if precision == "int8":
        ranges = activation_ranges(model, frames_of(2))
        model = convert_to_int8(model, ranges, target="tensorrt")
    steps: list[tuple[str, int, int]] = []
    built = build_engine(
        model, rtx(profile), precision=precision, on_progress=lambda *step: steps.append(step)
    )
    sidecar = built.sidecar
    assert sidecar.precision == sidecar.precision_found == precision
    assert sidecar.layers == {precision: 67}
    assert sidecar.precision_source == "network"
    assert sidecar.profile == profile
    assert sidecar.onnx_sha256 == hashlib.sha256(model).hexdigest()
    assert sidecar.engine_sha256 == hashlib.sha256(built.data).hexdigest()
    assert sidecar.hardware == "any-rtx"
    assert EngineSidecar.from_json(sidecar.to_json()) == sidecar
    assert len(built.data) > 100_000
    done = [step[1] for step in steps]
    assert done == sorted(done)
    assert len(set(done)) > 20
    assert steps[-1][1] == steps[-1][2]


def test_a_graph_that_is_not_what_it_is_called_is_refused(small_onnx: bytes) -> None:
    with pytest.raises(BackendError, match="reads the graph as fp32"):
        build_engine(small_onnx, rtx(), precision="fp16")


def test_an_int8_graph_for_cpus_is_refused_with_a_remedy(small_onnx: bytes) -> None:
    model = convert_to_int8(small_onnx, activation_ranges(small_onnx, frames_of(1)), target="cpu")
    with pytest.raises(BackendError) as caught:
        build_engine(model, rtx(), precision="int8")
    assert "--int8-target tensorrt" in caught.value.remedy


def test_an_unknown_operator_is_named_with_its_layer(small_onnx: bytes) -> None:
    model = onnx.load_model_from_string(small_onnx)
    node = next(n for n in model.graph.node if n.op_type == "Relu")
    node.name, node.op_type = "network.odd/Det", "Bernoulli"
    with pytest.raises(ArgumentError, match=r"node network\.odd/Det \(Bernoulli\) of layer networ"):
        build_engine(model.SerializeToString(), rtx(), precision="fp32")


def test_too_little_memory_is_said_in_so_many_words(deeplab_onnx: bytes) -> None:
    model = convert_to_float16(deeplab_onnx)[0]
    big = Profile(minimum=(8, 1080, 1920), optimum=(8, 1080, 1920), maximum=(8, 1080, 1920))
    with pytest.raises(BackendError, match="too little memory") as caught:
        build_engine(model, rtx(big, workspace_mib=1), precision="fp16")
    assert "--workspace" in caught.value.remedy


CTRL_C = """
import os, signal, sys, threading
from pathlib import Path
from trocar.contract.tensorrt.engines import Profile
from trocar.export.tensorrt.build import EngineOptions, build_engine

signal.signal(signal.SIGINT, signal.default_int_handler)
sent = []

def interrupt(stage, done, total):
    if not sent:
        sent.append(done)
        os.kill(os.getpid(), signal.SIGINT)

shapes = {"minimum": (1, 100, 100), "optimum": (2, 480, 640), "maximum": (4, 1080, 1920)}
options = EngineOptions(flavour="tensorrt-rtx", profile=Profile(**shapes))
try:
    build_engine(Path(sys.argv[1]).read_bytes(), options, precision="fp32", on_progress=interrupt)
except KeyboardInterrupt:
    left = [t for t in threading.enumerate() if "engine" in t.name and t.is_alive()]
    print("interrupted", len(sent), left)
"""


def test_ctrl_c_ends_the_build(deeplab_onnx: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(deeplab_onnx)
    done = in_own_process(CTRL_C, tmp_path / "m.onnx")
    assert (done.returncode, done.stdout) == (0, "interrupted 1 []\n"), done.stderr


def test_tensorrt_without_a_gpu_fails_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "find_gpu", lambda: None)
    options = EngineOptions(flavour="tensorrt", profile=STATIC)
    with pytest.raises(BackendError, match="there is no GPU here") as caught:
        build_engine(b"not even parsed", options, precision="fp32")
    assert "tensorrt-rtx" in caught.value.remedy
    with pytest.raises(BackendError, match="refittable engines without"):
        build_engine(b"not even parsed", rtx(strip_weights=True), precision="fp32")


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EngineLibrary("TensorRT for RTX", "no_such_library", "rtx")
    monkeypatch.setitem(LIBRARIES, "tensorrt-rtx", missing)
    with pytest.raises(MissingExtraError) as caught:
        build_engine(b"", rtx(), precision="fp32")
    assert "trocar[rtx]" in caught.value.remedy


def test_options_are_checked_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        rtx(
            optimization_level=9,
            workspace_mib=0,
            timing_cache=tmp_path / "t",
            version_compatible=True,
        )
    for word in ("level is 9", "workspace is 0", "timing cache", "version compatibility"):
        assert word in caught.value.message


def test_a_profile_is_read_in_the_order_width_height() -> None:
    context = click.Context(export)
    option = {p.name: p for p in export.params}
    sizes = option["engine_shape"].type_cast_value(context, "640x480:1280x720:1920x1080")
    batches = option["batch"].type_cast_value(context, "1:4:8")
    assert profile_of(sizes, batches) == Profile(
        minimum=(1, 480, 640), optimum=(4, 720, 1280), maximum=(8, 1080, 1920)
    )
    static = option["engine_shape"].type_cast_value(context, "1920x1080")
    assert profile_of(static, (1, 1, 2)) == Profile(
        minimum=(1, 1080, 1920), optimum=(1, 1080, 1920), maximum=(2, 1080, 1920)
    )


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([(480, 640)] * 3, (4, 1, 8)),
        ([(480, 640), (480, 639), (480, 640)], (1, 1, 1)),
        ([(480, 640), (480, 640), (479, 640)], (1, 1, 1)),
    ],
)
def test_a_profile_must_rise(sizes: list[tuple[int, int]], batches: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="rising order") as caught:
        profile_of(sizes, batches)
    assert "--engine-shape" in caught.value.remedy


@pytest.mark.parametrize("text", ["1080", "0x640", "a", "4٣x4", "1x2:3x4", "1x2:3x4:5x6:7x8", "x"])
def test_a_malformed_size_is_refused(text: str) -> None:
    option = next(p for p in export.params if p.name == "engine_shape")
    with pytest.raises(click.BadParameter):
        option.type_cast_value(click.Context(export), text)


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test may change."""
    from export_helpers import manifest_of

    frames = [GateFrame(name=str(s), image=scene(s, 120, 160)) for s in range(2)]
    out = tmp_path_factory.mktemp("exported") / "m.trocar"
    export_bundle(small, manifest_of(), out, frames=frames, open_model=run_onnx)
    return out


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "m.trocar"))


def test_engines_live_in_their_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trocar.export.tensorrt.bundle_engines.find_gpu", lambda: None)
    wide = Profile(minimum=(1, 90, 120), optimum=(1, 90, 120), maximum=(2, 90, 120))
    first = add_engines(bundle, [rtx(), rtx(wide)], open_model=run_onnx)
    opened = open_bundle(bundle)
    known = engines_of(opened)
    assert set(known) == {name for name, _ in first}
    assert all(
        "not run" in sidecar.verification and not sidecar.verified for sidecar in known.values()
    )
    for name, sidecar in known.items():
        golden = np.load(bundle / f"{name.removesuffix('.engine')}.golden.npz")
        assert golden["frame"].shape == (*sidecar.profile.optimum[1:], 3)
        answer = run_onnx(bundle / "model.onnx")(golden["frame"][None])
        assert (answer["labels"][0] == golden["labels"]).all()
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == sidecar.engine_sha256
    # The same kind again takes the old one's place; the other stays.
    again = add_engines(bundle, [rtx(optimization_level=1)], open_model=run_onnx)
    now = engines_of(open_bundle(bundle))
    assert len(now) == 2
    assert again[0][0] in now
    gone = prune_engines(bundle, keep=lambda sidecar: sidecar.profile != wide)
    left = engines_of(open_bundle(bundle))
    assert list(left) == [again[0][0]]
    assert gone
    assert not [name for name in gone if (bundle / name).exists()]
    assert len(list((bundle / "engines").iterdir())) == 3


def test_an_engine_that_this_gpu_does_not_run_is_built_and_says_so(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E.g. an H100, for which there is no TensorRT for RTX."""
    monkeypatch.setattr(
        "trocar.export.tensorrt.bundle_engines.find_gpu", lambda: Gpu("Stand-in H100", "9.0")
    )

    def never(flavour: str, path: Path, manifest: Manifest) -> Infer:
        raise AssertionError("it was opened")

    ((_, sidecar),) = add_engines(bundle, [rtx()], open_model=run_onnx, open_engine=never)
    assert not sidecar.verified
    assert "does not run on Stand-in H100" in sidecar.verification


def test_what_runs_an_engine_is_looked_for_before_it_is_built(
    small_onnx: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "find_gpu", lambda: Gpu("Stand-in GPU", "8.9"))
    monkeypatch.setattr(engine_module, "_is_installed", lambda package: False)
    with pytest.raises(MissingExtraError, match=r"'cuda\.bindings' is missing") as caught:
        engine_module.check_engine(rtx())
    assert "trocar[rtx]" in caught.value.remedy


def test_tf32_is_a_precision_of_its_own(small_onnx: bytes) -> None:
    built = build_engine(small_onnx, rtx(tf32=True), precision="fp32")
    assert (built.sidecar.precision, built.sidecar.precision_found) == ("fp32", "tf32")
    with pytest.raises(ConfigError, match="TF32 is for fp32 graphs"):
        build_engine(convert_to_float16(small_onnx)[0], rtx(tf32=True), precision="fp16")


def test_an_engine_that_runs_here_is_verified_or_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "trocar.export.tensorrt.bundle_engines.find_gpu", lambda: Gpu("Stand-in GPU", "8.9")
    )
    graph = run_onnx(bundle / "model.onnx")

    def broken(frames):
        answer = graph(frames)
        return {**answer, "labels": np.roll(answer["labels"], 9, axis=2)}

    before = (bundle / "manifest.json").read_bytes()
    with pytest.raises(ParityError, match="does not agree with ONNX Runtime"):
        add_engines(
            bundle, [rtx()], open_model=run_onnx, open_engine=lambda flavour, path, _: broken
        )
    assert (bundle / "manifest.json").read_bytes() == before
    assert not (bundle / "engines").exists()

    def as_in_a_bundle(flavour: str, path: Path, manifest: Manifest) -> Infer:
        """What the real runner needs: the sidecar beside, the graph above."""
        held = EngineSidecar.from_json(path.with_suffix(".json").read_bytes())
        assert held.engine_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (path.parent.parent / "model.onnx").read_bytes() == bundle_model
        return graph

    bundle_model = (bundle / "model.onnx").read_bytes()
    ((_, sidecar),) = add_engines(bundle, [rtx()], open_model=run_onnx, open_engine=as_in_a_bundle)
    assert sidecar.verified
    assert "equal to ONNX Runtime" in sidecar.verification


def test_converting_leaves_engines_behind(bundle: Path, tmp_path: Path) -> None:
    add_engines(bundle, [rtx()], open_model=run_onnx)
    out = tmp_path / "half.trocar"
    frames = [GateFrame(name=str(s), image=scene(s, 120, 160)) for s in range(2)]
    convert_bundle(
        bundle, out, frames=frames, open_model=run_onnx, options=ExportOptions(precision="fp16")
    )
    assert engines_of(open_bundle(out)) == {}
    ((_, sidecar),) = add_engines(out, [rtx()], open_model=run_onnx)
    assert sidecar.precision_found == "fp16"


def test_a_small_graph_of_another_shape_is_no_surprise() -> None:
    """A graph without any heavy layer counts as float32."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["frame"], ["labels"], name="c", to=onnx.TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("frame", onnx.TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("labels", onnx.TensorProto.FLOAT, ["n", "h", "w", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    built = build_engine(model.SerializeToString(), rtx(), precision="fp32")
    assert built.sidecar.layers == {}
