"""Content of wheel and sdist; a plain install is a working runtime without torch."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("contract", "train", "export", "runtime", "cuda_kernels")


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name]


def expected_in_wheel() -> set[str]:
    """Every committed module of the packages, and the data files that setup.py names."""
    wanted = set()
    for name in tracked():
        top = name.partition("/")[0]
        if top not in (*PACKAGES, "trocar") or name.startswith("runtime/cpp/"):
            continue
        path = name if top == "trocar" else f"trocar/{name}"
        if (
            path.endswith((".py", "py.typed"))
            or path.startswith("trocar/train/recipes/")
            or path.startswith("trocar/cuda_kernels/kernels/")
            or path.startswith("trocar/runtime/live/monitor/static/")
        ):
            wanted.add(path)
    return wanted


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a clean copy of the commit, and the wheel made from that sdist."""
    out = tmp_path_factory.mktemp("packages")
    copy = out / "copy"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "-o", str(out), str(copy)],
        check=True,
        capture_output=True,
    )
    return out


@pytest.mark.slow
def test_the_wheel_holds_what_is_committed_and_nothing_else(archives: Path) -> None:
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert names == expected_in_wheel()


@pytest.mark.slow
def test_the_sdist_holds_real_files(archives: Path) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {m.name.partition("/")[2]: m for m in archive.getmembers()}
    assert members["trocar/contract/bundle.py"].isreg()
    assert members["LICENSE"].isreg()
    assert not any(name.startswith(("tests", ".venv", "demo")) for name in members)


@pytest.mark.slow
def test_a_plain_install_is_the_runtime_without_torch(archives: Path, tmp_path: Path) -> None:
    (sdist,) = archives.glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(sdist)],
        check=True,
        capture_output=True,
    )
    code = (
        "import importlib.util, numpy as np\n"
        "from trocar.runtime import Session\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "import sys; session = Session.open(sys.argv[1])\n"
        "print(session.run(np.zeros((48, 64, 3), np.uint8)).labels.shape)"
    )
    bundle = tmp_path / "tiny.trocar"
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    try:
        from tiny_bundle import make_tiny_bundle
    finally:
        sys.path.pop(0)
    make_tiny_bundle(bundle, height=24, width=32)
    done = subprocess.run(
        [python, "-c", code, str(bundle)], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(24, 32)"
    missing = subprocess.run(
        [tmp_path / "env" / "bin" / "trocar", "train", "supervised", "--help"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert missing.returncode == 10, missing.stderr
    assert "pip install 'trocar[train]'" in missing.stderr
