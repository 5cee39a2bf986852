"""`--trust` refuses what was not signed, wherever a bundle opens; `--audit` logs every run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from body_film import make_body_bundle
from signed_bundles import written

from trocar.contract.integrity.audit_log import verify_log
from trocar.contract.integrity.manifest_hash import manifest_sha256
from trocar.contract.signatures.keys import read_private_key
from trocar.contract.signatures.signed_bundle import sign_bundle

pytest.importorskip("cryptography", reason="cryptography is not installed (extra signing)")
from cryptography.hazmat.primitives.asymmetric import ed25519

Run = Callable[..., int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """``plain.trocar``, ``signed.trocar``, ``key.pub``, ``v.mp4``."""
    from numbered_videos import write

    folder = tmp_path_factory.mktemp("trust")
    private, _ = written(folder, "key", ed25519.Ed25519PrivateKey.generate())
    for name in ("plain", "signed"):
        shutil.copytree(bundle, folder / f"{name}.trocar")
    sign_bundle(folder / "signed.trocar", read_private_key(private, None))
    write(folder / "v.mp4", range(3))
    return folder


COMMANDS = {
    "file": "run {model} v.mp4 --json {out} --threads 1",
    "live": "run {model} v.mp4 --live --json {out} --threads 1",
    "archive": "run {model} v.mp4 --out {out} --threads 1",
    "inspect": "inspect {model}",
    "benchmark": "benchmark {model} --seconds 0.001 --threads 1",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_bundle_that_is_not_signed(
    command: str, place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(place)

    def code(name: str, out: str) -> int:
        line = COMMANDS[command].format(model=f"{name}.trocar", out=tmp_path / out)
        return run(*line.split(), "--trust", "key.pub")

    assert code("plain", "refused") == 5
    assert "plain.trocar is not signed, and " in capsys.readouterr().err
    assert not (tmp_path / "refused").is_file()
    assert code("signed", "out") == 0


def test_the_classifier_must_be_signed_too(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    line = "run signed.trocar v.mp4 --threads 1 --trust key.pub --classifier plain.trocar"
    assert run(*line.split()) == 5
    assert "plain.trocar is not signed" in capsys.readouterr().err


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_log_says_what_ran_on_what_with_which_results(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    log, out = tmp_path / "audit.jsonl", tmp_path / "o.jsonl"
    line = f"run plain.trocar v.mp4 --threads 1 --json {out} --audit {log}"
    assert run(*line.split()) == 0
    assert f"audit log {log}: {verify_log(log).head}" in capsys.readouterr().err
    assert run(*line.split()) == 11  # the output is there already
    assert run(*line.split(), "--live", "--overwrite", "--token", "secret") == 0
    archive = f"run plain.trocar v.mp4 --threads 1 --out {tmp_path / 'all'} --audit {log}"
    assert run(*archive.split()) == 0
    begun, ended, _, refused, _, live, _, many = records(log)
    assert [r["event"] for r in records(log)] == ["started", "finished", "started", "failed"] + [
        "started",
        "finished",
    ] * 2
    document = (place / "plain.trocar" / "manifest.json").read_bytes()
    assert begun["bundles"]["model"]["sha256"] == manifest_sha256(document)
    assert begun["sources"] == ["v.mp4"]
    assert begun["options"]["threads"] == 1
    assert {"trocar", "python", "numpy"} <= set(begun["versions"])
    assert begun["run"] == ended["run"]
    assert set(ended["results"]) == {str(out)}
    assert live["results"][str(out)] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert refused["error"]["code"] == 11
    assert refused["results"] == {}
    assert {Path(name).name for name in many["results"]} == {"results.jsonl", "done.json"}
    assert many["recordings"][0]["state"] == "done"
    assert "secret" not in log.read_text()
    # A run that would follow a changed line does not begin.
    log.write_text(log.read_text().replace("v.mp4", "w.mp4"))
    assert run(*line.split(), "--overwrite") == 5
    assert len(records(log)) == 8
    assert run("verify", "--audit", log) == 5


def test_verify_of_a_log(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    log = tmp_path / "audit.jsonl"
    assert run("run", "nowhere.trocar", "v.mp4", "--audit", log) == 4
    assert run("verify", "--audit", log) == 0
    assert "2 records, unchanged; the last hash is" in capsys.readouterr().out
    assert run("verify", "--audit", log, "--head", records(log)[0]["hash"]) == 0
    assert run("verify", "--audit", log, "--head", "f" * 64) == 5
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0])
    capsys.readouterr()
    assert run("verify", "--audit", log) == 0
    assert "runs without an end" in capsys.readouterr().out
    for wrong in (["verify"], ["verify", "plain.trocar"], ["verify", "--trust", "key.pub"]):
        assert run(*wrong) == 2
    assert run("run", "plain.trocar", "v.mp4", "--audit", "v.mp4") == 2
    assert run("run", "plain.trocar", "v.mp4", "--audit", "plain.trocar/audit.jsonl") == 2


def test_the_out_of_body_model_is_trusted_and_logged_too(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    body, log = make_body_bundle(tmp_path / "body.trocar"), tmp_path / "audit.jsonl"
    line = ["run", "signed.trocar", "v.mp4", "--threads", "1", "--out-of-body", str(body)]
    unsigned = run(*line, "--json", tmp_path / "a.jsonl", "--trust", "key.pub")
    assert unsigned == 5
    assert not (tmp_path / "a.jsonl").exists()
    assert run(*line, "--json", tmp_path / "b.jsonl", "--audit", log) == 0
    logged = records(log)[0]["bundles"]
    assert set(logged) == {"model", "out_of_body"}
    manifest = (body / "manifest.json").read_bytes()
    assert logged["out_of_body"]["sha256"] == manifest_sha256(manifest)
