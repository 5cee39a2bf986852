"""The parity gate: equal models pass; broken conversions and frames of one class are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_helpers import Classifier, frames_of, manifest_of, run_onnx, scene, truth
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import (
    DataError,
    OutputExistsError,
    ParityError,
)
from trocar.export.bundle import export_bundle
from trocar.export.gate import ExportOptions
from trocar.export.graph.frame_graph import Normalised
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.parity.check import check_parity
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Failure, FailureCode, GateFrame, ParityReport
from trocar.export.precision.convert import Conversion
from trocar.export.reference import torch_reference

# Keys of parity.json: part of the bundle format, whatever the names in Python.
REPORT_KEYS = [
    "passed", "task", "precision", "reference", "candidate", "faults", "limits", "numbers",
    "classes", "frames", "truth", "notes", "golden_margin", "extra",
]  # fmt: skip
LIMIT_KEYS = [
    "equal", "class_agreement", "boundary", "boundary_pixels", "logit_share", "max_logit_share",
    "mean_logit_share", "far", "lost", "truth_drop", "embedding", "informative",
    "min_instance_iou", "max_score_difference", "max_missed_instances", "max_added_instances",
]  # fmt: skip
NUMBER_KEYS = [
    "equal", "pixels", "differing", "far", "largest_margin_of_a_differing_pixel", "logit_spread",
    "allowed_logit_difference", "largest_logit_difference", "mean_logit_difference",
    "informative_frames", "frames", "lost_regions",
]  # fmt: skip


def gate_frames(count: int = 3) -> list[GateFrame]:
    return [
        GateFrame(name=f"f{s}", image=scene(s, 120, 160), ground_truth=truth(s, 120, 160))
        for s in range(count)
    ]


@pytest.fixture(scope="module")
def exported(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gate") / "small.trocar"
    export_bundle(small, manifest_of(), out, frames=gate_frames(), open_model=run_onnx)
    return out


def test_an_equal_export_passes_and_the_bundle_has_the_report(exported: Path) -> None:
    bundle = open_bundle(exported)
    assert set(bundle.manifest.files) == {"model.onnx", "golden.npz", "parity.json"}
    report = json.loads(bundle.read("parity.json"))
    assert report["passed"] is True
    assert report["numbers"]["equal"] >= 0.999
    assert report["numbers"]["informative_frames"] == 3
    assert report["numbers"]["largest_logit_difference"] < report["numbers"]["logit_spread"] / 1000
    assert report["truth"]["candidate"]["mean_iou"] > 0.5
    assert len(report["classes"]) == 3
    assert list(report) == REPORT_KEYS
    assert list(report["limits"]) == LIMIT_KEYS
    assert list(report["numbers"]) == NUMBER_KEYS
    assert bundle.manifest.golden_margin == pytest.approx(
        2 * report["numbers"]["allowed_logit_difference"]
    )
    assert 0.9 < bundle.manifest.extra["fast_resize"]["equal"] <= 1
    carried = onnx.load(bundle.model).metadata_props
    assert any(e.key == "trocar_manifest" and "golden_margin" in e.value for e in carried)
    # What lies beside it: nothing half-written.
    assert [p.name for p in exported.parent.iterdir()] == ["small.trocar"]


def test_the_golden_frame_replays(exported: Path) -> None:
    golden = np.load(exported / "golden.npz", allow_pickle=False)
    answer = run_onnx(exported / "model.onnx")(golden["frame"][None])
    assert golden["labels"].dtype == np.uint8
    assert golden["margin"].dtype == np.float32
    assert golden["margin"].shape == golden["labels"].shape == (64, 96)
    assert len(np.unique(golden["labels"])) == 3
    assert (answer["labels"][0] == golden["labels"]).all()
    assert (golden["margin"] >= 0).all()
    np.testing.assert_array_equal(answer["confidence"][0], golden["confidence"])


def edited(data: bytes, edit: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_model_from_string(data)
    edit(model)
    return model.SerializeToString()


def weights_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name.endswith(name))


def change(model: onnx.ModelProto, name: str, edit: Callable[[NDArray], NDArray]) -> None:
    tensor = weights_of(model, name)
    value = edit(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))


def scale_off_by_two(model: onnx.ModelProto) -> None:
    change(model, "scale", lambda v: v * 2)


def swapped_channel(model: onnx.ModelProto) -> None:
    change(model, "first.weight", lambda v: v[:, ::-1])


def dropped_class(model: onnx.ModelProto) -> None:
    def lower(value: NDArray) -> NDArray:
        value[2] = -1e4
        return value

    change(model, "head.bias", lower)


def half_pixel_shift(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "coordinate_transformation_mode":
                attribute.s = b"asymmetric"


BREAKS = (scale_off_by_two, swapped_channel, dropped_class, half_pixel_shift)


@pytest.mark.parametrize(
    ("break_it", "precision"),
    # A shift of half a pixel may be below what int8 is allowed.
    [(b, p) for b in BREAKS for p in ("fp32", "fp16", "int8") if (b, p) != (BREAKS[3], "int8")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_planted_conversions_are_refused(
    small: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[onnx.ModelProto], None],
    precision: str,
) -> None:
    monkeypatch.setattr(
        "trocar.export.gate.convert", lambda data, **_: Conversion(edited(data, break_it))
    )
    out = tmp_path / "broken.trocar"
    options = ExportOptions(precision=precision, mismatch_images=tmp_path / "images")
    with pytest.raises(ParityError, match="does not agree") as caught:
        export_bundle(
            small, manifest_of(), out, frames=gate_frames(), open_model=run_onnx, options=options
        )
    assert caught.value.remedy
    assert not out.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["images"]
    assert (tmp_path / "images" / "worst_1.png").stat().st_size > 1000


def answers(labels: NDArray[np.uint8], logits: NDArray[np.float32]) -> dict[str, NDArray]:
    return {"labels": labels[None], "logits": logits[None]}


def compare(
    reference: NDArray[np.uint8], candidate: NDArray[np.uint8], *, margin: float, limits: Limits
) -> ParityReport:
    """The gate on two label maps; the reference's logits are one-hot times ``margin``."""
    logits = np.eye(3, dtype=np.float32)[reference].transpose(2, 0, 1) * margin
    frame = GateFrame(name="made", image=np.zeros((8, 8, 3), np.uint8))
    report, _ = check_parity(
        lambda _: answers(reference, logits),
        lambda _: answers(candidate, logits),
        [frame],
        manifest_of(reference.shape),
        limits=limits,
    )
    return report


def codes(report: ParityReport) -> list[FailureCode]:
    return [failure.code for failure in report.failures]


def texts(report: ParityReport) -> str:
    return "; ".join(failure.text for failure in report.failures)


def blocks() -> NDArray[np.uint8]:
    labels = np.zeros((200, 200), np.uint8)
    labels[20:120, 20:120] = 1
    labels[150:158, 150:156] = 2
    return labels


def test_a_lost_instrument_is_seen_although_nearly_all_pixels_agree() -> None:
    reference, candidate = blocks(), blocks()
    candidate[candidate == 2] = 0
    assert (reference == candidate).mean() > 0.998
    loose = replace(
        Limits(), min_pixel_agreement=0.99, max_mismatch=1.0, min_boundary_f1=0.0, min_class_iou=0.0
    )
    report = compare(reference, candidate, margin=5.0, limits=loose)
    assert codes(report) == ["missed_components"]
    assert "components missed: scissors (48 pixels)" in texts(report)
    report = compare(
        reference, candidate, margin=5.0, limits=replace(loose, max_missed_components=1)
    )
    assert report.passed
    report = compare(
        reference,
        candidate,
        margin=5.0,
        limits=replace(loose, max_missed_components=1, min_class_iou=0.9),
    )
    assert codes(report) == ["class_iou"]
    assert "class scissors: IoU 0.0000" in texts(report)


def test_near_ties_may_differ_and_others_may_not() -> None:
    reference, candidate = blocks(), blocks()
    candidate[20, 20:24] = 0
    limits = replace(Limits(), logit_share=0.5)
    assert compare(reference, candidate, margin=1.0, limits=limits).passed
    report = compare(reference, candidate, margin=1.0, limits=replace(limits, logit_share=0.01))
    assert codes(report) == ["non_tie_mismatch"]


def test_frames_of_one_class_are_not_enough() -> None:
    empty = np.zeros((200, 200), np.uint8)
    report = compare(empty, empty, margin=5.0, limits=Limits())
    assert codes(report) == ["too_few_multiclass_frames"]
    with pytest.raises(ParityError) as caught:
        report.require()
    assert "instruments in view" in caught.value.remedy
    stray = empty.copy()
    stray[5, 5] = 1
    report = compare(stray, stray, margin=5.0, limits=Limits())
    assert codes(report) == ["too_few_multiclass_frames"]


def test_the_remedy_follows_from_the_code_and_not_from_the_text() -> None:
    empty = np.zeros((200, 200), np.uint8)
    report = compare(empty, empty, margin=5.0, limits=Limits())
    (failure,) = report.failures
    for code, words in (
        ("too_few_multiclass_frames", "instruments in view"),
        ("single_class", "two classes or more"),
        ("class_iou", "report it"),
    ):
        changed = replace(report, failures=(replace(failure, code=code, text="other words"),))
        with pytest.raises(ParityError, match="other words") as caught:
            changed.require()
        assert words in caught.value.remedy
    reduced = replace(report, precision="int8", failures=(Failure("class_iou", "x"),))
    with pytest.raises(ParityError) as caught:
        reduced.require()
    assert "higher precision than int8" in caught.value.remedy


def test_a_loss_against_ground_truth_is_a_fault(small: nn.Module, small_onnx: bytes) -> None:
    reference = torch_reference(small, onnx_from_network(small, manifest_of())[1])

    def worse(frames: NDArray[np.uint8]) -> dict[str, NDArray]:
        labels = reference(frames)["labels"].copy()
        labels[:, :, ::9] = 0
        return {"labels": labels}

    loose = Limits(
        min_pixel_agreement=0.0,
        min_class_iou=0.0,
        min_boundary_f1=0.0,
        max_mismatch=1.0,
        max_missed_components=10**6,
        max_logit_share=0.0,
    )
    report, worst = check_parity(reference, worse, gate_frames(), manifest_of(), limits=loose)
    assert codes(report) == ["accuracy_drop"]
    truth = report.ground_truth
    assert truth["reference"]["mean_dice"] > truth["candidate"]["mean_dice"]
    assert len(worst) == 3
    assert [w.equal for w in worst] == sorted(w.equal for w in worst)
    assert worst[0].equal < 0.999
    assert any("logits were not compared" in note for note in report.notes)


def test_logits_that_are_not_finite_are_a_fault(small: nn.Module) -> None:
    reference = torch_reference(small, onnx_from_network(small, manifest_of())[1])

    def broken(frames: NDArray[np.uint8]) -> dict[str, NDArray]:
        logits = reference(frames)["logits"].copy()
        logits[0, 0, 0, 0] = np.nan
        return {"logits": logits}

    report, _ = check_parity(reference, reference, gate_frames(), manifest_of(), with_logits=broken)
    assert "max_logit_difference" in codes(report)
    assert "largest logit difference is inf" in texts(report)


def test_classifiers_are_compared_by_class_score_and_embedding(tmp_path: Path) -> None:
    torch.manual_seed(2)
    manifest = manifest_of((40, 48), task="classification")
    network = Normalised(Classifier(), manifest.input).eval()
    with torch.no_grad():
        frames = [np.full((50, 60, 3), v, np.uint8) for v in (10, 128, 250)]
        stack = torch.stack([torch.full((3, 40, 48), float(v)) for v in (10, 128, 250)])
        # Centres at the frames' own embeddings: three frames, three classes.
        network.network.centres.copy_(network(stack)[1] - network(stack)[1].mean(0))
    truths = [GateFrame(name=str(i), image=f, ground_truth=i) for i, f in enumerate(frames)]
    out = tmp_path / "c.trocar"
    report = export_bundle(network, manifest, out, frames=truths, open_model=run_onnx)
    assert report.metrics["predicted_classes"] >= 2
    assert report.ground_truth["reference"]["accuracy"] == 1.0
    assert report.ground_truth["candidate"]["accuracy"] == 1.0
    golden = np.load(out / "golden.npz")
    assert set(golden.files) == {"frame", "scores", "embedding", "margin"}
    assert golden["margin"].shape == ()
    reference = torch_reference(network, open_bundle(out).manifest)

    def turned(frames: NDArray[np.uint8]) -> dict[str, NDArray]:
        answer = reference(frames)
        return {"scores": answer["scores"][:, ::-1], "embedding": -answer["embedding"]}

    bad, _ = check_parity(reference, turned, truths, manifest)
    assert {"pixel_agreement", "embedding_cosine"} <= set(codes(bad))
    same, _ = check_parity(reference, reference, truths[:1], manifest)
    assert codes(same) == ["single_class"]


def test_an_output_that_exists_is_refused_before_any_work(exported: Path) -> None:
    before = (exported / "manifest.json").read_bytes()

    class Untouched(nn.Module):
        def forward(self, _: object) -> None:
            raise AssertionError("the network was run although the output exists")

    with pytest.raises(OutputExistsError, match="--overwrite"):
        export_bundle(
            Untouched(), manifest_of(), exported, frames=frames_of(1), open_model=run_onnx
        )
    assert (exported / "manifest.json").read_bytes() == before


def test_images_never_replace_a_folder_of_others(small: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.png").write_bytes(b"x")
    with pytest.raises(OutputExistsError, match="--mismatch-images"):
        export_bundle(
            small,
            manifest_of(),
            tmp_path / "m.trocar",
            frames=frames_of(1),
            open_model=run_onnx,
            options=ExportOptions(mismatch_images=tmp_path / "photos"),
        )
    assert (tmp_path / "photos" / "holiday.png").exists()


def test_ctrl_c_leaves_nothing(small: nn.Module, tmp_path: Path) -> None:
    def interrupted(stage: str, done: int, total: int) -> None:
        if stage == "gate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(
            small,
            manifest_of(),
            tmp_path / "m.trocar",
            frames=frames_of(2),
            open_model=run_onnx,
            on_progress=interrupted,
        )
    assert list(tmp_path.iterdir()) == []


def test_no_frames_are_an_error(small: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--frames"):
        export_bundle(small, manifest_of(), tmp_path / "m", frames=[], open_model=run_onnx)
    assert list(tmp_path.iterdir()) == []
