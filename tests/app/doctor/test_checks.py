"""The checks of `trocar doctor`, and what the command prints and returns."""

from __future__ import annotations

import importlib.metadata
import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from trocar.commands import doctor
from trocar.doctor import packages, torch_packages
from trocar.doctor.checks import CHECKS, examine
from trocar.doctor.finding import Finding
from trocar.doctor.packages import check_wheels


def test_both_onnxruntime_wheels_are_a_fault_with_a_remedy(monkeypatch) -> None:
    monkeypatch.setattr(packages, "version_of", lambda name: "1.0" if "onnx" in name else None)
    finding = check_wheels()
    assert finding.state == "fail"
    assert "onnxruntime and onnxruntime-gpu" in finding.detail
    assert "pip uninstall" in finding.remedy


def test_an_old_torch_is_a_fault(monkeypatch) -> None:
    monkeypatch.setattr(
        packages, "version_of", lambda name: "2.7.1+cu126" if name == "torch" else None
    )
    assert packages.check_versions().state == "fail"
    monkeypatch.setattr(packages, "version_of", lambda name: "2.10.0" if name == "torch" else None)
    assert packages.check_versions().state == "ok"


def test_a_check_that_breaks_is_a_finding_and_stops_nothing() -> None:
    def check_bad() -> Finding:
        raise RuntimeError("boom")

    def check_good() -> Finding:
        return Finding(check="good", state="ok", detail="")

    bad, good = examine([check_bad, check_good])
    assert (bad.check, bad.state) == ("bad", "fail")
    assert "boom" in bad.detail
    assert good.state == "ok"


def test_a_broken_native_package_is_told_in_its_own_words(monkeypatch) -> None:
    class Done:
        returncode, stderr, stdout = 1, "Traceback\nImportError: libavcodec missing\n", ""

    monkeypatch.setattr(packages, "run_python", lambda code: Done)
    finding = packages.check_codecs()
    assert finding.state == "fail"
    assert finding.detail == "ImportError: libavcodec missing"


def test_webrtc_is_absent_broken_or_there(monkeypatch) -> None:
    done = SimpleNamespace(returncode=0, stdout="", stderr="")
    monkeypatch.setattr(packages, "run_python", lambda code: done)
    monkeypatch.setattr(packages, "version_of", lambda name: None)
    assert packages.check_webrtc().state == "absent"
    assert "trocar[webrtc]" in packages.check_webrtc().remedy
    monkeypatch.setattr(packages, "version_of", lambda name: "1.16.0")
    assert packages.check_webrtc().detail == "aiortc 1.16.0"
    done.returncode, done.stderr = 1, "Traceback\nImportError: libsrtp missing\n"
    assert packages.check_webrtc().state == "fail"
    assert packages.check_webrtc().detail == "aiortc 1.16.0: ImportError: libsrtp missing"


@pytest.mark.parametrize(("state", "code"), [("fail", 1), ("warn", 0), ("absent", 0)])
def test_exit_code_and_json(monkeypatch, state, code) -> None:
    found = Finding(check="x", state=state, detail="d", remedy="r")
    monkeypatch.setattr(doctor, "examine", lambda load: [found])
    done = CliRunner().invoke(doctor.doctor, ["--json"])
    assert done.exit_code == code
    assert json.loads(done.output) == [{"check": "x", "state": state, "detail": "d", "remedy": "r"}]
    assert "→ r" in CliRunner().invoke(doctor.doctor, []).output


@pytest.mark.parametrize(
    ("torch", "vision", "wanted", "said"),
    [
        ("2.14.1", "0.29.1", "torch (>=2.14.0)", ""),
        ("2.8.0", "0.23.0", "torch==2.8.0", ""),
        ("2.10.1+cpu", "0.25.0+cpu", "torch (==2.10.1)", ""),
        ("2.9.0", "0.23.0", "torch==2.8.0", "wants torch ==2.8.0, but torch 2.9.0 is installed"),
        ("2.8.0+cpu", "0.23.0+cu126", "torch==2.8.0", "built for different devices"),
        ("2.8.0", None, "torch==2.8.0", "without torchvision"),
    ],
)
def test_torch_and_torchvision_are_compared_without_importing_them(
    monkeypatch, torch, vision, wanted, said
) -> None:
    versions = {"torch": torch, "torchvision": vision}
    monkeypatch.setattr(torch_packages, "version_of", versions.get)
    requirements = ["numpy", "torchmetrics<2", wanted]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(torch_packages, "run_python", lambda code: pytest.fail("imported"))
    monkeypatch.setattr(torch_packages, "query_driver", lambda: SimpleNamespace(count=0))
    finding = torch_packages.check_torch()
    assert said in finding.detail
    assert finding.state == ("fail" if said else "ok")


def test_a_gpu_or_the_flag_makes_the_check_import_torch(monkeypatch) -> None:
    done = SimpleNamespace(returncode=0, stdout="2.14.1 0.29.1 True", stderr="")
    monkeypatch.setattr(torch_packages, "run_python", lambda code: done)
    assert torch_packages.check_torch(load=True).detail.endswith("with CUDA")
    monkeypatch.setattr(torch_packages, "query_driver", lambda: SimpleNamespace(count=1))
    assert torch_packages.check_torch().detail.endswith("with CUDA")


def test_this_machine_can_be_examined() -> None:
    findings = examine()
    assert len(findings) >= len(CHECKS)
    assert all("the check raised" not in f.detail for f in findings)
    assert {f.check: f.state for f in findings}["codecs"] == "ok"
