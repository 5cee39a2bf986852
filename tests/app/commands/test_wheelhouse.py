"""`trocar wheelhouse`: what it collects installs without a network, by hash; faults say why."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trocar import __version__
from trocar.contract.errors import ConfigError
from trocar.wheelhouse import Target, _tags

Run = Callable[..., int]


def wheel(folder: Path, name: str, *requires: str, tag: str = "py3-none-any", version: str) -> None:
    """A wheel with one module."""
    folder.mkdir(exist_ok=True)
    stem = f"{name}-{version}"
    info = f"{stem}.dist-info"
    about = [
        "Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Provides-Extra: cpu"
    ]  # fmt: skip
    about += [f"Requires-Dist: {text}" for text in requires]
    files = {
        f"{name}_module.py": "",
        f"{info}/METADATA": "\n".join(about) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index in a folder: Trocar, something it requires, something of an extra."""
    folder = tmp_path / "index"
    wheel(folder, "trocar", "plain>=1", "fast; extra == 'cpu'", version=__version__)
    wheel(folder, "plain", version="1.5")
    wheel(folder, "fast", version="2.0", tag="py3-none-manylinux_2_17_aarch64")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_what_is_collected_installs_by_hash_without_an_index(
    index: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "wheels"
    assert run("wheelhouse", out) == 0
    assert "2 wheels" in capsys.readouterr().out
    assert {p.name.split("-")[0] for p in out.iterdir()} == {"trocar", "plain", "requirements.txt"}
    lines = (out / "requirements.txt").read_text().splitlines()
    assert lines[0].startswith("plain==1.5 --hash=sha256:")
    monkeypatch.delenv("PIP_FIND_LINKS")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--find-links", str(out)]
    install += ["--require-hashes", "-r", str(out / "requirements.txt"), "--target"]
    subprocess.run([*install, str(tmp_path / "site")], check=True, capture_output=True)
    assert (tmp_path / "site" / "plain_module.py").is_file()
    # A wheel that was changed on the way is refused.
    wheel(out, "plain", "trocar", version="1.5")
    again = subprocess.run(
        [*install, str(tmp_path / "other")], check=False, capture_output=True, text=True
    )
    assert again.returncode
    assert "DO NOT MATCH THE HASHES" in again.stderr


def test_wheels_for_another_machine(index: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "wheels"
    target = ("--python", "3.12", "--platform", "manylinux_2_28_aarch64")
    assert run("wheelhouse", out, "--extra", "cpu", *target) == 0
    text = (out / "requirements.txt").read_text()
    assert f"trocar[cpu]=={__version__} --hash" in text
    assert "fast==2.0 --hash" in text


def test_a_wheel_of_ones_own_for_another_machine_is_taken(
    index: Path, run: Run, tmp_path: Path
) -> None:
    own = f"trocar-{__version__}-py3-none-linux_aarch64.whl"
    wheel(tmp_path / "dist", "trocar", tag="py3-none-linux_aarch64", version=__version__)
    target = ("--python", "3.12", "--platform", "manylinux_2_28_aarch64")
    out = tmp_path / "wheels"
    assert run("wheelhouse", out, *target, "--trocar", tmp_path / "dist" / own) == 0
    assert (out / own).is_file()


def test_faults(index: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for words, code, said in (
        ([tmp_path / "full"], 11, "full exists"),
        ([tmp_path / "o", "--extra", "a b"], 2, "'a b' is no extra"),
        ([tmp_path / "o", "--python", "3"], 2, "expected a version"),
        ([tmp_path / "o", "--platform", "Linux x"], 2, "expected a platform tag"),
        ([tmp_path / "o", "--constraint", tmp_path / "no"], 2, "there is no file"),
        ([tmp_path / "o", "--extra", "cpu", "--platform", "win_amd64"], 13, "pip finds no wheels"),
    ):
        assert run("wheelhouse", *words) == code, words
        assert said in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"index", "full"}


def test_older_tags_are_taken_too() -> None:
    tags = _tags(("manylinux_2_28_x86_64", "linux_x86_64"))
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"} <= set(tags)
    assert "manylinux_2_29_x86_64" not in tags
    with pytest.raises(ConfigError):
        Target(python="2.7")
