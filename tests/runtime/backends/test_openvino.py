"""OpenVINO for real: the same labels, its precision as it was asked for or an error."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trocar.contract.errors import BackendError, MissingExtraError
from trocar.runtime import Session
from trocar.runtime.backends import open_backend


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_gives_the_same_labels(
    tiny_bundle: Path, tiny: ModuleType, precision: str
) -> None:
    openvino = pytest.importorskip("openvino")
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        pytest.skip("this processor has no bfloat16")
    frame = tiny.tiny_frame(97, 131)
    with Session.open(tiny_bundle, threads=1) as reference:
        expected = reference.infer(np.stack([frame, frame[::-1]]))
    with Session.open(tiny_bundle, backend="openvino", precision=precision, threads=1) as session:
        assert session.precision == precision
        given = session.infer(np.stack([frame, frame[::-1]]))
    assert (given["labels"] == expected["labels"]).mean() > 0.995
    assert given["confidence"].dtype == np.float16
    first = given["labels"].copy()
    assert np.array_equal(first, given["labels"])


def test_openvino_states_what_it_cannot_do(tiny_bundle: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(BackendError, match="runs on the CPU"):
        Session.open(tiny_bundle, backend="openvino", device="cuda")
    with pytest.raises(BackendError, match="int8 was requested, but the graph"):
        Session.open(tiny_bundle, backend="openvino", precision="int8")


def test_bfloat16_is_refused_where_the_processor_has_none(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")

    class Plain(openvino.Core):
        def get_property(self, device: str, name: str) -> Any:
            return ["FP32"] if name == "OPTIMIZATION_CAPABILITIES" else super().get_property(name)

    monkeypatch.setattr(openvino, "Core", Plain)
    with pytest.raises(BackendError, match="this processor has no bfloat16") as caught:
        Session.open(tiny_bundle, backend="openvino", precision="bf16")
    assert "fp32" in caught.value.remedy


def test_a_missing_package_names_its_extra(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "trocar.runtime.backends.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="needs the Python package 'openvino'") as caught:
        open_backend("openvino", tiny_bundle / "model.onnx")
    assert "trocar[openvino]" in caught.value.remedy
