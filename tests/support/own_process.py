"""Runs a part of a test in a process of its own: what it signals or ends is never the test's.

done = in_own_process("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
assert done.returncode == -signal.SIGTERM
"""

from __future__ import annotations

import os
import subprocess
import sys

from places import ROOT


def in_own_process(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs Python code, with ``words`` as its arguments and what it prints as text."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
