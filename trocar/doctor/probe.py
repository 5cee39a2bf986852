"""Tools of the checks: versions, a separate Python process, CPU flags.

version_of("numpy")     # "2.4.6"
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path


def version_of(package: str) -> str | None:
    """The version of an installed distribution; ``None`` when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new process, so that a broken native library cannot crash this one."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def last_line(text: str) -> str:
    """The last line of an error output; Python prints the exception there."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def cpu_flags() -> set[str]:
    """Instruction sets of this processor as Linux names them; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
