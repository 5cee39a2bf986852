"""Nothing that runs a bundle opens a socket: no telemetry, no licence server, no version check."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numbered_videos import write

# Counts the sockets of Python and of every library in the process.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int socket(int domain, int type, int protocol) {
    FILE *log = fopen(getenv("SOCKET_LOG"), "a");
    if (log != NULL) { fprintf(log, "%d\\n", domain); fclose(log); }
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    return real(domain, type, protocol);
}
"""

PROGRAM = """
import importlib.util, sys
import numpy as np
from trocar.cli import main
from trocar.runtime import Session
bundle, video = sys.argv[1:]
def call(*words):
    try:
        main(list(words))
    except SystemExit as stop:
        assert not stop.code, words
call("inspect", bundle)
call("run", bundle, video, "--json", "file.jsonl", "--overlay", "file.mp4", "--audit", "a.jsonl")
call("run", bundle, video, "--live", "--json", "live.jsonl")
call("run", bundle, video, "--out", "archive")
backends = ["onnxruntime"] + ["openvino"] * (importlib.util.find_spec("openvino") is not None)
for backend in backends:
    with Session.open(bundle, backend=backend) as session:
        session.run(np.zeros((48, 64, 3), np.uint8))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("no gcc here")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command = ["gcc", "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "shim.so"


def sockets(shim: Path, code: str, *arguments: object, folder: Path) -> list[str]:
    """Address families of the sockets that a program opened."""
    log = folder / "sockets"
    log.touch()
    environment = {**os.environ, "LD_PRELOAD": str(shim), "SOCKET_LOG": str(log)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment |= {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home")}
    (folder / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # ONNX Runtime's statistics would leave a device identifier and a queue there.
    assert [str(path) for path in (folder / "home").rglob("*") if path.is_file()] == []
    return log.read_text().split()


def test_no_socket_is_opened(shim: Path, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", range(3))
    assert sockets(shim, PROGRAM, bundle, tmp_path / "v.mp4", folder=tmp_path) == []
    assert (tmp_path / "file.jsonl").stat().st_size
    assert (tmp_path / "live.jsonl").exists()


def test_the_counter_sees_sockets(shim: Path, tmp_path: Path) -> None:
    code = "import socket; socket.socket(socket.AF_INET6).close()"
    assert sockets(shim, code, folder=tmp_path) == ["10"]
