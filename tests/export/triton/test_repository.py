"""The Triton repository: parsed by Triton's own protobuf definitions, files where they belong."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from export_helpers import SIZE, Classifier, manifest_of, run_onnx, scene
from torch import nn

from trocar.contract.bundle import MODEL, open_bundle, write_bundle
from trocar.contract.errors import BundleError, ConfigError, OutputExistsError
from trocar.contract.tensorrt.engines import Profile
from trocar.export.bundle import export_bundle
from trocar.export.graph.frame_graph import Normalised
from trocar.export.parity.types import GateFrame
from trocar.export.triton.config import TritonOptions, pbtxt
from trocar.export.triton.ensemble import crop_graph
from trocar.export.triton.repository import model_name, write_repository


@pytest.fixture(scope="session")
def definitions() -> ModuleType:
    """Triton's model_config_pb2, as its own client package carries it."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tritonclient is not installed; it carries the official definitions")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def finder(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "finder.trocar"
    frames = [GateFrame(name=str(s), image=scene(s, 120, 160)) for s in range(2)]
    export_bundle(small, manifest_of(), out, frames=frames, open_model=run_onnx)
    return out


@pytest.fixture(scope="module")
def namer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    manifest = manifest_of((40, 48), task="classification")
    network = Normalised(Classifier(), manifest.input).eval()
    shades = [np.full((50, 60, 3), v, np.uint8) for v in (10, 128, 250)]
    with torch.no_grad():
        stack = torch.stack([torch.full((3, 40, 48), float(v)) for v in (10, 128, 250)])
        network.network.centres.copy_(network(stack)[1] - network(stack)[1].mean(0))
    out = tmp_path_factory.mktemp("triton") / "namer.trocar"
    export_bundle(network, manifest, out, frames=shades, open_model=run_onnx)
    return out


def parsed(definitions: ModuleType, folder: Path):
    from google.protobuf import text_format

    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, definitions.ModelConfig())


def test_a_graph_is_served_with_batching_warmup_and_labels(
    definitions: ModuleType, finder: Path, tmp_path: Path
) -> None:
    options = TritonOptions(max_batch=6, delay_us=500, instances=2, device="cpu", threads=3)
    names = write_repository(finder, tmp_path / "models", options)
    assert names == ["small"]
    folder = tmp_path / "models" / "small"
    config = parsed(definitions, folder)
    assert config.name == "small"
    assert config.platform == "onnxruntime_onnx"
    assert config.max_batch_size == 6
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("frame", definitions.TYPE_UINT8, [-1, -1, 3])
    ]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [
        ("labels", definitions.TYPE_UINT8, list(SIZE)),
        ("confidence", definitions.TYPE_FP16, list(SIZE)),
    ]
    group = config.instance_group[0]
    assert (group.count, group.kind) == (2, definitions.ModelInstanceGroup.KIND_CPU)
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    warmup = config.model_warmup[0].inputs["frame"]
    raw = (folder / "warmup" / warmup.input_data_file).read_bytes()
    assert len(raw) == int(np.prod(list(warmup.dims)))
    frame = np.frombuffer(raw, np.uint8).reshape(list(warmup.dims))
    golden = np.load(finder / "golden.npz")
    assert (frame == golden["frame"]).all()
    assert (folder / "1" / "model.onnx").read_bytes() == (finder / MODEL).read_bytes()
    assert (folder / "labels.txt").read_text().split() == ["background", "grasper", "scissors"]
    compile((tmp_path / "models" / "client_example.py").read_text(), "client", "exec")


def test_two_stages_become_an_ensemble_whose_tensors_meet(
    definitions: ModuleType, finder: Path, namer: Path, tmp_path: Path
) -> None:
    names = write_repository(finder, tmp_path / "m", TritonOptions(), classifier=namer)
    assert len(names) == 4
    configs = {name: parsed(definitions, tmp_path / "m" / name) for name in names}
    ensemble = configs["trocar-two-stages"]
    have = {i.name: (i.data_type, list(i.dims)) for i in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = configs[step.model_name]
        assert {i.name for i in model.input} == set(step.input_map)
        assert {o.name for o in model.output} == set(step.output_map)
        for entry in model.input:
            kind, dims = have[step.input_map[entry.name]]
            assert kind == entry.data_type
            assert len(dims) == len(entry.dims)
            assert all(-1 in (a, b) or a == b for a, b in zip(dims, entry.dims, strict=True))
        for entry in model.output:
            have[step.output_map[entry.name]] = (entry.data_type, list(entry.dims))
    for output in ensemble.output:
        assert have[output.name] == (output.data_type, list(output.dims))
    # The graphs themselves, run one after the other as the server would.
    frames = np.stack([scene(s, 110, 150) for s in range(2)])
    labels = run_onnx(tmp_path / "m" / names[0] / "1" / "model.onnx")(frames)["labels"]
    import onnxruntime as ort

    cut = ort.InferenceSession(
        (tmp_path / "m" / "trocar-crop" / "1" / "model.onnx").read_bytes(),
        providers=["CPUExecutionProvider"],
    )
    (crops,) = cut.run(None, {"frame": frames, "labels": labels})
    assert crops.shape == (2, 40, 48, 3)
    scores = run_onnx(tmp_path / "m" / names[1] / "1" / "model.onnx")(crops)["scores"]
    assert scores.shape == (2, 3)


def test_the_crop_is_the_box_around_instruments() -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(
        crop_graph(manifest_of((20, 40)), (12, 24)), providers=["CPUExecutionProvider"]
    )
    frame = np.zeros((2, 40, 80, 3), np.uint8)
    frame[0, 10:22, 20:44] = (50, 100, 200)
    labels = np.zeros((2, 20, 40), np.uint8)
    labels[0, 5:11, 10:22] = 1
    (crops,) = session.run(None, {"frame": frame, "labels": labels})
    # The object and a tenth of its sides around it, 1.2 pixels to each of the crop's. Two samples a
    # pixel, blended between pixel centres: a tenth of the object shows in the pixel before its
    # edge, nine tenths in the one behind. The margin is one pixel high and two wide.
    rows = np.array([0.1, 0.9, *[1.0] * 8, 0.9, 0.1])
    columns = np.array([0, 0.1, 0.9, *[1.0] * 18, 0.9, 0.1, 0])
    expected = rows[:, None, None] * columns[None, :, None] * np.array([50, 100, 200])
    assert np.abs(crops[0] - expected).max() <= 0.51
    assert (crops[1] == 0).all()
    frame[1] = 77
    (crops,) = session.run(None, {"frame": frame, "labels": labels})
    assert (crops[1] == 77).all()


def test_a_plan_is_served_with_its_own_shapes(
    definitions: ModuleType, finder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (extra rtx)")
    import json
    import shutil
    from dataclasses import replace

    from trocar.contract.bundle import update_bundle
    from trocar.contract.tensorrt.engines import engines_of, files_of_engine
    from trocar.export.tensorrt.build import EngineOptions
    from trocar.export.tensorrt.bundle_engines import add_engines

    copy = tmp_path / "copy.trocar"
    shutil.copytree(finder, copy)
    profile = Profile(minimum=(2, 120, 160), optimum=(2, 120, 160), maximum=(4, 120, 160))
    wanted = EngineOptions(flavour="tensorrt-rtx", profile=profile)
    ((name, sidecar),) = add_engines(copy, [wanted], open_model=run_onnx)
    with pytest.raises(BundleError, match="Triton does not load"):
        write_repository(copy, tmp_path / "m", TritonOptions(engine=name))
    assert not (tmp_path / "m").exists()
    # A TensorRT engine cannot be built here; its sidecar differs from this one in the flavour.
    bundle = open_bundle(copy)
    engine, _, golden = files_of_engine(name)
    plain = replace(sidecar, flavour="tensorrt", hardware="this-gpu", gpu="L4", capability="8.9")
    files = {
        "engines/t.engine": bundle.read(engine),
        "engines/t.json": plain.to_json().encode(),
        "engines/t.golden.npz": bundle.read(golden),
    }
    update_bundle(bundle, add=files)
    assert "engines/t.engine" in engines_of(open_bundle(copy))
    write_repository(copy, tmp_path / "m", TritonOptions(engine="engines/t.engine"))
    config = parsed(definitions, tmp_path / "m" / "small")
    assert config.platform == "tensorrt_plan"
    assert config.max_batch_size == 4
    assert list(config.input[0].dims) == [120, 160, 3]
    assert config.model_warmup[0].batch_size == 2
    assert list(config.model_warmup[0].inputs["frame"].dims) == [120, 160, 3]
    assert (tmp_path / "m" / "small" / "1" / "model.plan").read_bytes() == bundle.read(engine)
    assert json.loads(plain.to_json())["flavour"] == "tensorrt"


def test_what_cannot_be_written_leaves_nothing(finder: Path, namer: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputExistsError):
        write_repository(finder, tmp_path / "there", TritonOptions())
    with pytest.raises(BundleError, match="has no engine"):
        write_repository(finder, tmp_path / "m", TritonOptions(engine="engines/x.engine"))
    with pytest.raises(BundleError, match="the two stages are classification"):
        write_repository(namer, tmp_path / "m", TritonOptions(), classifier=finder)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    with pytest.raises(ConfigError, match=r"max_batch is 0.*an engine runs on a GPU"):
        TritonOptions(max_batch=0, device="cpu", engine="x")


def test_names_and_texts_are_safe(definitions: ModuleType, finder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from google.protobuf import text_format

    manifest = replace(manifest_of(), name='Ω "tool" / finder')
    assert model_name(manifest) == "tool-finder"
    assert model_name(replace(manifest, name="…")) == "segmentation"
    config = text_format.Parse(pbtxt({"name": 'a "b" \\ \n c'}), definitions.ModelConfig())
    assert config.name == 'a "b" \\ \n c'
    bundle = open_bundle(finder)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    odd = write_bundle(tmp_path / "odd.trocar", replace(bundle.manifest, name="a b"), files)
    assert write_repository(odd.path, tmp_path / "m", TritonOptions()) == ["a-b"]
