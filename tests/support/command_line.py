"""The command line in the process of the test.

assert run("inspect", bundle) == 0
"""

from __future__ import annotations

from trocar.cli import main


def run(*words: object) -> int:
    """Runs `trocar` with these words; gives its exit code."""
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
