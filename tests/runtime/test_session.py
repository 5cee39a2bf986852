"""Opening bundles, and one frame through them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from trocar.contract.bundle import GOLDEN, MODEL, open_bundle, write_bundle
from trocar.contract.errors import (
    ArgumentError,
    BackendError,
    BundleError,
    IntegrityError,
    ParityError,
)
from trocar.runtime import Session
from trocar.runtime import session as runtime_session
from trocar.runtime.backends.base import refuse_options


def test_finds_both_instruments_with_everything_stated(tiny_bundle: Path, tiny: ModuleType) -> None:
    with Session.open(tiny_bundle, threads=1) as session:
        result = session.run(tiny.tiny_frame(480, 640), frame_id=7, time=0.28)
    assert [i.class_name for i in result.instruments] == ["grasper", "scissors"]
    grasper = result.instruments[0]
    assert grasper.touches_border
    assert grasper.entry is not None
    assert grasper.entry[0] < 16
    # The bar ends at 0.55 of the width.
    assert grasper.tips[0][0] == pytest.approx(0.55 * 640, abs=16)
    assert (result.backend, result.device, result.precision) == ("onnxruntime", "cpu", "fp32")
    assert set(result.stages_ms) == {"infer", "locate"}
    assert result.to_dict()["frame"] == 7


@pytest.mark.parametrize(("height", "width"), [(64, 80), (97, 133), (480, 853), (1080, 1920)])
def test_takes_any_frame_size_and_batch(
    tiny_bundle: Path, tiny: ModuleType, height: int, width: int
) -> None:
    with Session.open(tiny_bundle, threads=1) as session:
        frame = tiny.tiny_frame(height, width)
        one = session.infer(frame[None])["labels"]
        three = session.infer(np.stack([frame] * 3))["labels"]
    assert one.shape == (1, 64, 80)
    assert one.dtype == np.uint8
    assert (three == one).all()
    assert set(np.unique(one)) == {0, 1, 2}


def test_fast_resize_gives_nearly_the_same_labels(tiny_bundle: Path, tiny: ModuleType) -> None:
    frame = tiny.tiny_frame(480, 640)
    with Session.open(tiny_bundle, threads=1) as exact:
        expected = exact.run(frame)
    with Session.open(tiny_bundle, threads=1, fast_resize=True) as fast:
        assert fast.prepare(frame).shape == (64, 80, 3)
        result = fast.run(frame)
    assert result.labels is not None
    assert expected.labels is not None
    assert (result.labels == expected.labels).mean() > 0.98
    assert result.frame_size == (480, 640)


def test_a_bare_onnx_file_carries_its_manifest(tiny_bundle: Path, tiny: ModuleType) -> None:
    with Session.open(tiny_bundle / MODEL, threads=1) as session:
        assert not session.golden
        assert session.classes.names == ("background", "grasper", "scissors")
        assert len(session.run(tiny.tiny_frame(120, 160)).instruments) == 2


def test_a_bare_onnx_file_without_a_manifest_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_bundle / MODEL)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(BundleError, match="contains no Trocar manifest"):
        Session.open(tmp_path / "plain.onnx", threads=1)


def test_options_of_the_backend_are_passed_on(tiny_bundle: Path, tiny: ModuleType) -> None:
    with Session.open(tiny_bundle, threads=1, spinning=False) as session:
        assert len(session.run(tiny.tiny_frame(120, 160)).instruments) == 2
    with pytest.raises(BackendError, match="CUDA graphs were requested on cpu"):
        Session.open(tiny_bundle, threads=1, graphs=True)
    with pytest.raises(TypeError, match="spinnin"):
        Session.open(tiny_bundle, spinnin=False)  # type: ignore[call-arg]


def test_an_option_that_a_backend_lacks_is_refused() -> None:
    refuse_options("openvino", spinning=None, graphs=None)
    with pytest.raises(BackendError, match="backend openvino has no option spinning") as caught:
        refuse_options("openvino", spinning=False, graphs=None)
    assert "leave spinning out" in caught.value.remedy


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_refuses_frames_of_another_kind(tiny_bundle: Path, frame: np.ndarray) -> None:
    with (
        Session.open(tiny_bundle, threads=1) as session,
        pytest.raises(ArgumentError, match="uint8"),
    ):
        session.run(frame)


def test_cuda_without_a_gpu_is_an_error_and_no_fallback(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trocar.runtime.devices.cuda_count", lambda: (0, "there is no driver"))
    with pytest.raises(BackendError, match="no driver") as caught:
        Session.open(tiny_bundle, device="cuda")
    assert "cpu" in caught.value.remedy
    monkeypatch.setattr("trocar.runtime.devices.cuda_count", lambda: (2, ""))
    with pytest.raises(BackendError, match="2 GPU"):
        Session.open(tiny_bundle, device="cuda:2")


def test_asks_that_cannot_be_met_are_errors(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"fp16 was requested, but the graph .* is fp32"):
        Session.open(tiny_bundle, precision="fp16")
    with pytest.raises(BackendError, match="did you mean openvino"):
        Session.open(tiny_bundle, backend="opnvino")
    with pytest.raises(ArgumentError, match="device is 'gpu'"):
        Session.open(tiny_bundle, device="gpu")


def test_a_changed_golden_frame_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    golden = dict(np.load(io.BytesIO(bundle.read(GOLDEN))))
    sure = np.argwhere(golden["margin"] > bundle.manifest.golden_margin)[0]
    golden["labels"][tuple(sure)] += 1
    _rewrite(bundle.read(MODEL), bundle.manifest, golden, tmp_path / "wrong.trocar")
    with pytest.raises(ParityError, match="1 of 5120 pixels"):
        Session.open(tmp_path / "wrong.trocar")


def test_a_near_tie_may_differ(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    golden = dict(np.load(io.BytesIO(bundle.read(GOLDEN))))
    golden["labels"][3, 4] += 1
    golden["margin"][3, 4] = bundle.manifest.golden_margin
    _rewrite(bundle.read(MODEL), bundle.manifest, golden, tmp_path / "tie.trocar")
    Session.open(tmp_path / "tie.trocar").close()


def test_broken_bundles_are_named(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    golden = dict(np.load(io.BytesIO(bundle.read(GOLDEN))))
    del golden["margin"]
    _rewrite(bundle.read(MODEL), bundle.manifest, golden, tmp_path / "lacking.trocar")
    with pytest.raises(BundleError, match="lacks margin"):
        Session.open(tmp_path / "lacking.trocar")
    write_bundle(
        tmp_path / "cut.trocar",
        bundle.manifest,
        {MODEL: bundle.read(MODEL)[:900], GOLDEN: bundle.read(GOLDEN)},
    )
    with pytest.raises(BundleError, match=r"cannot load .*model.onnx"):
        Session.open(tmp_path / "cut.trocar")
    changed = tmp_path / "tie.trocar"
    write_bundle(changed, bundle.manifest, {MODEL: bundle.read(MODEL), GOLDEN: bundle.read(GOLDEN)})
    with (changed / GOLDEN).open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError):
        Session.open(changed)


@pytest.mark.parametrize("name", [MODEL, GOLDEN])
def test_a_file_that_changes_while_it_is_opened_does_not_run(
    name: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(tiny_bundle, tmp_path / "b.trocar"))

    def then_changed(place: Path) -> object:
        bundle = open_bundle(place)
        (place / name).write_bytes(b"something else")
        return bundle

    monkeypatch.setattr("trocar.runtime.session.open_bundle", then_changed)
    with pytest.raises(IntegrityError, match=name):
        Session.open(path, threads=1)


def test_what_runs_are_the_bytes_that_were_checked(
    tiny_bundle: Path, tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(tiny_bundle, tmp_path / "b.trocar"))
    opened = runtime_session.open_backend

    def after_a_change(*given: object, **options: object) -> object:
        (path / MODEL).write_bytes(b"something else")
        return opened(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runtime_session, "open_backend", after_a_change)
    with Session.open(path, threads=1) as session:
        assert len(session.run(tiny.tiny_frame(120, 160)).instruments) == 2


def test_a_golden_frame_that_proves_too_little_is_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(tiny_bundle)
    golden = dict(np.load(io.BytesIO(bundle.read(GOLDEN))))
    golden["margin"][:] = 0
    golden["margin"][0, 0] = 9
    _rewrite(bundle.read(MODEL), bundle.manifest, golden, tmp_path / "b.trocar")
    with pytest.raises(BundleError, match=r"1 of 5120 pixels .* expected at least 5%"):
        Session.open(tmp_path / "b.trocar", threads=1)


def test_a_pickle_in_golden_is_not_run(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    golden = dict(np.load(io.BytesIO(bundle.read(GOLDEN))))
    golden["labels"] = np.array([print], dtype=object)
    _rewrite(bundle.read(MODEL), bundle.manifest, golden, tmp_path / "evil.trocar")
    with pytest.raises(BundleError, match=r"golden.npz cannot be read"):
        Session.open(tmp_path / "evil.trocar")


def test_importing_the_runtime_brings_in_no_training_stack() -> None:
    code = (
        "import sys, trocar.runtime, trocar.commands.run;"
        "print([m for m in ('torch', 'matplotlib', 'onnx', 'pycuda') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _rewrite(model: bytes, manifest: object, golden: dict[str, np.ndarray], path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **golden)
    write_bundle(path, replace(manifest), {MODEL: model, GOLDEN: buffer.getvalue()})  # type: ignore[type-var]
