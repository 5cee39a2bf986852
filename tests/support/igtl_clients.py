"""A client of OpenIGTLink that is written on the reference library, compiled once.

client = Client(build_client(folder), sink)
sink.write(event)
sink.close()
client.lines()
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.runtime.sinks.openigtlink.sink import OpenIGTLinkSink

HEADERS = Path("/usr/include/openigtlink")
LIBRARIES = ("-lOpenIGTLink", "-lpthread")
SOURCE = Path(__file__).parent / "igtl_client.cpp"


def build_client(folder: Path) -> Path:
    """The compiled client; the test is skipped where compiler or library are missing."""
    if shutil.which("g++") is None or not HEADERS.is_dir():
        pytest.skip("needs g++ and OpenIGTLink's library (Debian: libopenigtlink-dev)")
    program = folder / "igtl_client"
    subprocess.run(
        ["g++", "-std=c++17", "-Wall", "-isystem", HEADERS, SOURCE, "-o", program, *LIBRARIES],
        check=True,
    )
    return program


class Client:
    """One process of the client.

    Args:
        program: What `build_client` made.
        sink: What it connects to; it is connected when this returns.
    """

    def __init__(self, program: Path, sink: OpenIGTLinkSink) -> None:
        host, _, port = sink.address.rpartition(":")
        before = sink.clients
        self._process = subprocess.Popen(
            [program, host, port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while sink.clients == before:
            assert self._process.poll() is None, "the client has ended"
            time.sleep(0.005)

    def lines(self) -> list[str]:
        """What it got until the server ended the connection; a damaged message is an error."""
        with self._process as process:
            try:
                out, errors = process.communicate(timeout=20)
            finally:
                process.kill()
        assert process.returncode == 0, errors
        return out.splitlines()


def pixel_hash(pixels: NDArray[np.uint8]) -> int:
    """The client's hash of a picture: FNV-1a, 32 bits."""
    value = 2166136261
    for byte in pixels.tobytes():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value
